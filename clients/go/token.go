package taffrail

import (
	"context"
	"errors"
	"net"
	"net/url"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
)

// WithToken has every call show this token: what `taffrail token create` has printed. Without TLS it goes to this
// machine only, and calls to another one fail: everybody on the way could read it.
func WithToken(text string) grpc.DialOption {
	return grpc.WithPerRPCCredentials(token{text, false})
}

// WithTokenWithoutEncryption is WithToken, to any machine.
func WithTokenWithoutEncryption(text string) grpc.DialOption {
	return grpc.WithPerRPCCredentials(token{text, true})
}

type token struct {
	text             string
	mayGoUnencrypted bool
}

// GetRequestMetadata is what grpc-go calls for each call.
func (t token) GetRequestMetadata(ctx context.Context, uri ...string) (map[string]string, error) {
	if t.text == "" || strings.ContainsFunc(t.text, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, errors.New("that is no token: it is empty, or has signs in it that no token has")
	}
	info, _ := credentials.RequestInfoFromContext(ctx)
	isEncrypted := credentials.CheckSecurityLevel(info.AuthInfo, credentials.PrivacyAndIntegrity) == nil
	if !isEncrypted && !t.mayGoUnencrypted && !staysHere(uri) {
		return nil, errors.New("the token would go to another machine without encryption; use TLS, or WithTokenWithoutEncryption")
	}
	return map[string]string{"authorization": "Bearer " + t.text}, nil
}

// RequireTransportSecurity is for grpc-go, which knows no loopback.
func (t token) RequireTransportSecurity() bool { return false }

// staysHere tells whether a call goes to this machine.
func staysHere(uris []string) bool {
	for _, text := range uris {
		to, err := url.Parse(text)
		if err != nil {
			return false
		}
		ip := net.ParseIP(to.Hostname())
		if to.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback()) {
			return false
		}
	}
	return len(uris) > 0
}
