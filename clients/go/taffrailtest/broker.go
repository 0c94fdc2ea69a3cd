// Package taffrailtest is a broker for tests: the real one, on a port of its own, with data that is removed with it.
//
//	broker := taffrailtest.Start(t)
//	client, err := taffrail.New(broker.Address)
package taffrailtest

import (
	"bufio"
	"cmp"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"syscall"
	"testing"
)

// Broker is `taffrail serve` until the test ends.
type Broker struct {
	// Address is where it is, also after a restart: HOST:PORT.
	Address string
	// DataDir is where its data is.
	DataDir string

	t       testing.TB
	binary  string
	log     string
	process *exec.Cmd
}

var listening = regexp.MustCompile(`listening on https?://(\S+)`)

// Start starts the binary that TAFFRAIL_BINARY names, or `taffrail` on the PATH, and waits until it can be connected to.
func Start(t testing.TB) *Broker {
	t.Helper()
	binary, err := exec.LookPath(cmp.Or(os.Getenv("TAFFRAIL_BINARY"), "taffrail"))
	if err != nil {
		t.Fatalf("there is no taffrail on the PATH, and TAFFRAIL_BINARY does not name one: %v", err)
	}
	folder := t.TempDir()
	broker := &Broker{
		Address: "127.0.0.1:0", DataDir: filepath.Join(folder, "data"), t: t, binary: binary,
		log: filepath.Join(folder, "log"),
	}
	t.Cleanup(broker.Kill)
	broker.Start()
	return broker
}

// Start starts it again on what is on the disk.
func (b *Broker) Start() {
	b.t.Helper()
	log, err := os.OpenFile(b.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		b.t.Fatal(err)
	}
	defer log.Close()
	b.process = exec.Command(b.binary, "serve", "--data-dir", b.DataDir, "--listen", b.Address)
	b.process.Stderr = log
	output, err := b.process.StdoutPipe()
	if err != nil {
		b.t.Fatal(err)
	}
	if err := b.process.Start(); err != nil {
		b.t.Fatal(err)
	}
	line, _ := bufio.NewReader(output).ReadString('\n')
	address := listening.FindStringSubmatch(line)
	if address == nil {
		b.t.Fatalf("the broker ended instead of serving: %v\n%s", b.process.Wait(), b.Log())
	}
	b.Address = address[1]
}

// Kill is kill -9: nothing is finished, nothing is closed.
func (b *Broker) Kill() { b.end(syscall.SIGKILL) }

// Stop is SIGTERM, as an operator would: what is under way is finished.
func (b *Broker) Stop() { b.end(syscall.SIGTERM) }

func (b *Broker) end(signal syscall.Signal) {
	if b.process == nil {
		return
	}
	// Both say only that it has ended already, or by a signal.
	_ = b.process.Process.Signal(signal)
	_ = b.process.Wait()
	b.process = nil
}

// Log is what it has logged.
func (b *Broker) Log() string {
	log, err := os.ReadFile(b.log)
	if err != nil {
		b.t.Fatal(err)
	}
	return string(log)
}
