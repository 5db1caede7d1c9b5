"""Logs in with nats-py and Eclipse Paho: reads a list of tasks as JSON, and prints the outcome of each."""

import asyncio
import json
import os
import sys
import tempfile

import nats
import paho.mqtt.client as mqtt

PATIENCE = 10


async def main():
    outcomes = [await attempt(task) for task in json.loads(sys.argv[1])]
    print(json.dumps(outcomes))


async def attempt(task):
    try:
        info = await (over_mqtt if task["way"] == "mqtt" else over_nats)(task)
    except Exception as error:  # whatever a library says of a refusal
        return {"connected": False, "error": f"{type(error).__name__}: {error}"}
    return {"connected": True, "info": info}


async def over_nats(task):
    login = task["login"]
    options = {"allow_reconnect": False, "connect_timeout": PATIENCE, "error_cb": ignore}
    if login["token"]:
        options["token"] = login["token"]
    elif login["user"]:
        options.update(user=login["user"], password=login["password"])
    if task["cookies"]:
        cookies = "; ".join(f"{name}={value}" for name, value in task["cookies"])
        options["ws_connection_headers"] = {"Cookie": [cookies]}
    with tempfile.TemporaryDirectory() as folder:
        if task["sentinel"]:
            path = os.path.join(folder, "sentinel.creds")
            with open(path, "w", encoding="ascii") as file:
                file.write(task["sentinel"])
            options["user_credentials"] = path
        client = await nats.connect(task["url"], **options)
    told = await client.request("$SYS.REQ.USER.INFO", b"", timeout=PATIENCE)
    for subject in task["publish"]:
        await client.publish(subject, b"")
    await client.flush()
    await client.close()
    return json.loads(told.data)["data"]


async def ignore(_error):
    """The server reports refused messages to this client, but the test judges by what observers receive."""


class Refused(Exception):
    """The return code of CONNACK was not zero."""


async def over_mqtt(task):
    await asyncio.to_thread(mqtt_session, task)


def mqtt_session(task):
    host, port = task["url"].split(":")
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=task["publish"][0].replace(".", "-"),
                         protocol=mqtt.MQTTv311)
    answers = []
    client.on_connect = lambda _client, _data, _flags, reason, _properties: answers.append(reason)
    client.username_pw_set(task["login"]["user"], task["login"]["password"])
    client.connect(host, int(port), keepalive=30)
    while not answers:
        code = client.loop(timeout=PATIENCE)
        if code != mqtt.MQTT_ERR_SUCCESS and not answers:
            raise Refused(mqtt.error_string(code))
    if answers[0].is_failure:
        raise Refused(str(answers[0]))
    for subject in task["publish"]:
        client.publish(subject.replace(".", "/"), b"", qos=0)
        client.loop(timeout=0.1)
    client.disconnect()
    client.loop(timeout=0.1)


asyncio.run(main())
