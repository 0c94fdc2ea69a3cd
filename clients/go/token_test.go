package taffrail_test

import (
	"cmp"
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"

	"google.golang.org/grpc"

	taffrail "taffrail.dev/go"
)

// token makes a token of this name.
func (w *world) token(name string) string {
	w.Helper()
	binary := cmp.Or(os.Getenv("TAFFRAIL_BINARY"), "taffrail")
	command := exec.Command(binary, "token", "create", name, "--expires", "1h", "--json", "--server", "http://"+w.broker.Address)
	output, err := command.Output()
	w.check(err)
	var created struct{ Text string }
	w.check(json.Unmarshal(output, &created))
	return created.Text
}

func TestAClientShowsItsToken(t *testing.T) {
	w := newWorld(t)
	text := w.token("writer")
	client, err := taffrail.New(w.broker.Address, taffrail.WithToken(text))
	w.check(err)
	defer client.Close()
	_, err = client.CreateTopic(w.ctx, "t", 1, nil)
	w.check(err)
	wrong, err := taffrail.New(w.broker.Address, taffrail.WithToken("x"+text))
	w.check(err)
	defer wrong.Close()
	_, err = wrong.CreateTopic(w.ctx, "u", 1, nil)
	equal(w, told(w, err).Reason, "TOKEN_MALFORMED")
	_, err = w.client.DescribeTopic(w.ctx, "t")
	w.check(err)
}

func TestATokenStaysOnThisMachineWithoutEncryption(t *testing.T) {
	w := newWorld(t)
	// As if it were elsewhere: a token is asked for when there is a connection.
	elsewhere := grpc.WithAuthority("broker.example")
	client, err := taffrail.New(w.broker.Address, taffrail.WithToken("x"), elsewhere)
	w.check(err)
	defer client.Close()
	_, err = client.CreateTopic(w.ctx, "t", 1, nil)
	if err == nil || !strings.Contains(err.Error(), "without encryption") {
		t.Fatalf("%v", err)
	}
}
