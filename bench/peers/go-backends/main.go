// A callout on synadia-io/callout.go whose clients are found in PostgreSQL (pgx, by token) or in LDAP (go-ldap, by
// name and password).
package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/go-ldap/ldap/v3"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
	"github.com/synadia-io/callout.go"
)

const (
	connections = 8
	patience    = time.Second
)

// Returns the name of the client, if its credential is right.
type verify func(options jwt.ConnectOptions) (string, error)

func read(name string) []byte {
	text, err := os.ReadFile(os.Getenv(name))
	must(err)
	return []byte(strings.TrimSpace(string(text)))
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func postgres(url string) verify {
	config, err := pgxpool.ParseConfig(url)
	must(err)
	config.MaxConns = connections
	pool, err := pgxpool.NewWithConfig(context.Background(), config)
	must(err)
	return func(options jwt.ConnectOptions) (string, error) {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		digest := sha256.Sum256([]byte(options.Token))
		var name, roles string
		row := pool.QueryRow(ctx, os.Getenv("QUERY"), hex.EncodeToString(digest[:]))
		err := row.Scan(&name, &roles)
		return name, err
	}
}

// Searches as the service account, and binds as the entry on another connection, as Callgate does.
func directory(url string) verify {
	searching, binding := make(chan *ldap.Conn, connections/2), make(chan *ldap.Conn, connections/2)
	for range connections / 2 {
		for _, pool := range []chan *ldap.Conn{searching, binding} {
			connection, err := ldap.DialURL(url)
			must(err)
			connection.SetTimeout(patience)
			if pool == searching {
				must(connection.Bind(os.Getenv("BIND_DN"), os.Getenv("BIND_PASSWORD")))
			}
			pool <- connection
		}
	}
	find := func(name string) (*ldap.Entry, error) {
		connection := <-searching
		defer func() { searching <- connection }()
		filter := fmt.Sprintf(os.Getenv("FILTER"), ldap.EscapeFilter(name))
		request := ldap.NewSearchRequest(os.Getenv("BASE"), ldap.ScopeWholeSubtree, ldap.NeverDerefAliases, 2, 1, false,
			filter, []string{"uid", "memberOf"}, nil)
		result, err := connection.Search(request)
		if err != nil {
			return nil, err
		}
		if len(result.Entries) != 1 {
			return nil, errors.New("unknown user")
		}
		return result.Entries[0], nil
	}
	return func(options jwt.ConnectOptions) (string, error) {
		if options.Password == "" {
			return "", errors.New("no password")
		}
		entry, err := find(options.Username)
		if err != nil {
			return "", err
		}
		connection := <-binding
		defer func() { binding <- connection }()
		return entry.GetAttributeValue("uid"), connection.Bind(entry.DN, options.Password)
	}
}

func main() {
	issuer, err := nkeys.FromSeed(read("ISSUER_SEED_FILE"))
	must(err)
	curve, err := nkeys.FromCurveSeed(read("XKEY_SEED_FILE"))
	must(err)
	var check verify
	switch url := os.Getenv("BACKEND_URL"); {
	case strings.HasPrefix(url, "postgres:"):
		check = postgres(url)
	default:
		check = directory(url)
	}
	authorizer := func(req *jwt.AuthorizationRequest) (string, error) {
		user, err := check(req.ConnectOptions)
		if err != nil {
			return "", err
		}
		uc := jwt.NewUserClaims(req.UserNkey)
		uc.Audience = "APP"
		uc.Name = user
		uc.Pub.Allow.Add("orders.>")
		uc.Sub.Allow.Add("orders.>", "_INBOX.>")
		uc.Expires = time.Now().Unix() + 3600
		return uc.Encode(issuer)
	}
	nc, err := nats.Connect(os.Getenv("NATS_URL"))
	must(err)
	_, err = callout.NewAuthorizationService(nc, callout.Authorizer(authorizer), callout.ResponseSignerKey(issuer),
		callout.EncryptionKey(curve), callout.AsyncWorkers(connections))
	must(err)
	must(nc.Flush())
	fmt.Println("ready")
	wait := make(chan os.Signal, 1)
	signal.Notify(wait, syscall.SIGTERM, syscall.SIGINT)
	<-wait
}
