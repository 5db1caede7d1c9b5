// Answers Callgate's questions on a subject: go get github.com/nats-io/nats.go
package main

import (
	"encoding/json"
	"os"

	"github.com/nats-io/nats.go"
)

func main() {
	url, subject := "nats://127.0.0.1:4222", "decide.login"
	if len(os.Args) == 3 {
		url, subject = os.Args[1], os.Args[2]
	}
	nc, err := nats.Connect(url, nats.UserInfo("team", "team"))
	if err != nil {
		panic(err)
	}
	nc.QueueSubscribe(subject, "team", func(m *nats.Msg) {
		var q struct{ Credential struct{ Kind, User, Password string } }
		json.Unmarshal(m.Data, &q)
		c := q.Credential
		switch {
		case c.Kind != "password":
			m.Respond([]byte(`{"result":"ignore"}`))
		case c.User == "alice" && c.Password == "secret":
			m.Respond([]byte(`{"result":"allow","account":"APP","permissions":{"sub":["app.>"]}}`))
		default:
			m.Respond([]byte(`{"result":"deny"}`))
		}
	})
	select {}
}
