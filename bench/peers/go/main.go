// A callout on synadia-io/callout.go: one user by password, and bearer tokens of one RS256 key.
package main

import (
	"crypto/rsa"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	bearer "github.com/golang-jwt/jwt/v5"
	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
	"github.com/synadia-io/callout.go"
)

func read(name string) []byte {
	text, err := os.ReadFile(os.Getenv(name))
	if err != nil {
		panic(err)
	}
	return []byte(strings.TrimSpace(string(text)))
}

// The first key of a key set.
func publicKey(text []byte) *rsa.PublicKey {
	var set struct{ Keys []struct{ N, E string } }
	if err := json.Unmarshal(text, &set); err != nil {
		panic(err)
	}
	number := func(text string) *big.Int {
		bytes, err := base64.RawURLEncoding.DecodeString(text)
		if err != nil {
			panic(err)
		}
		return new(big.Int).SetBytes(bytes)
	}
	return &rsa.PublicKey{N: number(set.Keys[0].N), E: int(number(set.Keys[0].E).Int64())}
}

func main() {
	issuer, err := nkeys.FromSeed(read("ISSUER_SEED_FILE"))
	if err != nil {
		panic(err)
	}
	password := read("PASSWORD_FILE")
	public := publicKey(read("KEYS_FILE"))
	parser := bearer.NewParser(bearer.WithValidMethods([]string{"RS256"}),
		bearer.WithIssuer("https://issuer.test"), bearer.WithAudience("nats"), bearer.WithExpirationRequired())
	authorizer := func(req *jwt.AuthorizationRequest) (string, error) {
		user := req.ConnectOptions.Username
		if token := req.ConnectOptions.Token; token != "" {
			claims := bearer.RegisteredClaims{}
			if _, err := parser.ParseWithClaims(token, &claims, func(*bearer.Token) (any, error) { return public, nil }); err != nil {
				return "", err
			}
			user = claims.Subject
		} else if user != "alice" || subtle.ConstantTimeCompare([]byte(req.ConnectOptions.Password), password) != 1 {
			return "", errors.New("no")
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
	if err != nil {
		panic(err)
	}
	options := []callout.Option{callout.Authorizer(authorizer), callout.ResponseSignerKey(issuer)}
	if os.Getenv("XKEY_SEED_FILE") != "" {
		curve, err := nkeys.FromCurveSeed(read("XKEY_SEED_FILE"))
		if err != nil {
			panic(err)
		}
		options = append(options, callout.EncryptionKey(curve))
	}
	if _, err := callout.NewAuthorizationService(nc, options...); err != nil {
		panic(err)
	}
	if err := nc.Flush(); err != nil {
		panic(err)
	}
	fmt.Println("ready")
	wait := make(chan os.Signal, 1)
	signal.Notify(wait, syscall.SIGTERM, syscall.SIGINT)
	<-wait
}
