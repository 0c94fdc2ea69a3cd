package taffrail_test

import (
	"context"
	"encoding/json"
	"os"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	taffrail "taffrail.dev/go"
)

// TestCallersWithAJWT is for a broker that takes JWTs, with tokens that somebody has signed: .ci/check_callers.py.
func TestCallersWithAJWT(t *testing.T) {
	text, ok := os.LookupEnv("TAFFRAIL_CALLERS")
	if !ok {
		t.Skip("there is no issuer: TAFFRAIL_CALLERS does not name its tokens")
	}
	var callers struct {
		Address, Own, Expired, Guest string
		Limit                        int
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	w := &world{T: t, ctx: ctx}
	w.check(json.Unmarshal([]byte(text), &callers))
	connect := func(token string) *taffrail.Client {
		client, err := taffrail.New(callers.Address, taffrail.WithToken(token))
		w.check(err)
		t.Cleanup(func() { client.Close() })
		return client
	}
	small := []taffrail.Record{{Value: []byte("x")}}
	_, err := connect(callers.Own).Append(w.ctx, "orders", small)
	w.check(err)

	_, err = connect(callers.Expired).Append(w.ctx, "orders", small)
	equal(w, told(w, err).Code, codes.Unauthenticated)
	equal(w, told(w, err).Reason, "TOKEN_EXPIRED")

	guest := connect(callers.Guest)
	_, err = guest.Append(w.ctx, "orders", []taffrail.Record{{Value: make([]byte, 7*callers.Limit)}})
	w.check(err)
	_, err = guest.Append(w.ctx, "orders", small)
	above := told(w, err)
	equal(w, above.Code, codes.ResourceExhausted)
	equal(w, above.Reason, "QUOTA_EXCEEDED")
	if above.RetryAfter <= 0 || above.RetryAfter > 10*time.Second {
		t.Fatalf("it is to be tried again after %v", above.RetryAfter)
	}
	time.Sleep(above.RetryAfter)
	_, err = guest.Append(w.ctx, "orders", small)
	w.check(err)
}
