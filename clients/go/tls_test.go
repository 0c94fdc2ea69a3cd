package taffrail_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	taffrail "taffrail.dev/go"
	"taffrail.dev/go/taffrailtest"
)

// authority signs certificates while a test runs.
type authority struct {
	*testing.T
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	serial      int64
}

func newAuthority(t *testing.T) *authority {
	a := &authority{T: t}
	template := a.template("an authority of a test")
	template.IsCA, template.BasicConstraintsValid = true, true
	a.key = a.newKey()
	der, err := x509.CreateCertificate(rand.Reader, template, template, &a.key.PublicKey, a.key)
	a.check(err)
	a.certificate, err = x509.ParseCertificate(der)
	a.check(err)
	return a
}

func (a *authority) check(err error) {
	a.Helper()
	if err != nil {
		a.Fatal(err)
	}
}

func (a *authority) newKey() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	a.check(err)
	return key
}

func (a *authority) template(name string) *x509.Certificate {
	a.serial++
	return &x509.Certificate{
		SerialNumber: big.NewInt(a.serial),
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
	}
}

// issue makes a certificate with its key, both PEM.
func (a *authority) issue(name string, usage x509.ExtKeyUsage) (certificate, key []byte) {
	template := a.template(name)
	template.ExtKeyUsage = []x509.ExtKeyUsage{usage}
	template.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	private := a.newKey()
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, &private.PublicKey, a.key)
	a.check(err)
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	a.check(err)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded})
}

// put writes a new certificate for a broker into a folder.
func (a *authority) put(folder string) {
	certificate, key := a.issue("a broker", x509.ExtKeyUsageServerAuth)
	a.check(os.WriteFile(filepath.Join(folder, "broker.pem"), certificate, 0o600))
	a.check(os.WriteFile(filepath.Join(folder, "broker.key"), key, 0o600))
}

// client connects, with a certificate of its own if it has a name.
func (a *authority) client(address, name string) *taffrail.Client {
	config := &tls.Config{RootCAs: x509.NewCertPool()}
	config.RootCAs.AddCert(a.certificate)
	if name != "" {
		pair, err := tls.X509KeyPair(a.issue(name, x509.ExtKeyUsageClientAuth))
		a.check(err)
		config.Certificates = []tls.Certificate{pair}
	}
	client, err := taffrail.New(address, grpc.WithTransportCredentials(credentials.NewTLS(config)))
	a.check(err)
	a.Cleanup(func() { client.Close() })
	return client
}

// secured starts a broker that speaks TLS, and asks clients for a certificate if it is to.
func secured(t *testing.T, asks bool) (*authority, *taffrailtest.Broker, string) {
	a, folder := newAuthority(t), t.TempDir()
	a.put(folder)
	t.Setenv("TAFFRAIL_TLS_CERTIFICATE", filepath.Join(folder, "broker.pem"))
	t.Setenv("TAFFRAIL_TLS_KEY", filepath.Join(folder, "broker.key"))
	if asks {
		authorities := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.certificate.Raw})
		path := filepath.Join(folder, "ca.pem")
		a.check(os.WriteFile(path, authorities, 0o600))
		t.Setenv("TAFFRAIL_TLS_CLIENT_CA", path)
	}
	return a, taffrailtest.StartOnDisk(t), folder
}

func TestCertificatesAreReplacedWhileAStreamRuns(t *testing.T) {
	before, broker, folder := secured(t, false)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	client := before.client(broker.Address, "")
	_, err := client.CreateTopic(ctx, "t", 1, nil)
	before.check(err)
	_, err = client.Append(ctx, "t", numbered(1))
	before.check(err)
	reading, err := client.Read(ctx, "t", taffrail.ReadOptions{Follow: true})
	before.check(err)
	defer reading.Close()
	next := func() string {
		record, err := reading.Next()
		before.check(err)
		return string(record.Value)
	}
	first := next()

	after := newAuthority(t)
	after.put(folder)
	for {
		newcomer := after.client(broker.Address, "")
		if _, err = newcomer.Append(ctx, "t", numbered(2)); err == nil {
			break
		}
		if ctx.Err() != nil {
			t.Fatalf("new connections do not get the new certificate: %v", err)
		}
		newcomer.Close()
	}
	if second := next(); first != "1" || second != "2" {
		t.Fatalf("%q and %q were read", first, second)
	}
	if log := broker.Log(); !strings.Contains(log, "connections that begin from now on have the certificate") {
		t.Fatalf("the log does not say it: %s", log)
	}
}

func TestAClientIsKnownByItsCertificate(t *testing.T) {
	a, broker, _ := secured(t, true)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, err := a.client(broker.Address, "billing").CreateTopic(ctx, "t", 1, nil)
	a.check(err)
	short, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if _, err := a.client(broker.Address, "").CreateTopic(short, "u", 1, nil); err == nil {
		t.Fatal("a client without a certificate was let in")
	}
}

func TestWhoSpeaksNoTLSIsTold(t *testing.T) {
	_, broker, _ := secured(t, false)
	client, err := taffrail.New(broker.Address)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if _, err = client.CreateTopic(ctx, "t", 1, nil); err == nil {
		t.Fatal("it was let in")
	}
	t.Logf("it is told: %v", err)
}

func TestAURLSaysWhetherToSpeakTLS(t *testing.T) {
	for scheme, first := range map[string]byte{"https://": 0x16, "http://": 'P', "": 'P'} {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		client, err := taffrail.New(scheme + listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		go client.Limits(ctx)
		listener.(*net.TCPListener).SetDeadline(time.Now().Add(patience))
		conn, err := listener.Accept()
		if err != nil {
			t.Fatalf("%q: %v", scheme, err)
		}
		sent := make([]byte, 1)
		if _, err := conn.Read(sent); err != nil || sent[0] != first {
			t.Fatalf("%q: %v, %v", scheme, sent, err)
		}
		cancel()
		conn.Close()
		client.Close()
		listener.Close()
	}
}
