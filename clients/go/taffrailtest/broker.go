// Package taffrailtest is a broker for tests: the real one, in memory, on a port of its own.
//
//	broker := taffrailtest.Start(t)
//	client, err := taffrail.New(broker.Address)
package taffrailtest

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	pb "taffrail.dev/go/taffrailv1"
)

// patience is for how long a call of this package waits.
const patience = 30 * time.Second

// Broker is `taffrail serve --ephemeral` until the test ends, or its program does, however it ends.
type Broker struct {
	// Address is where it is, also after a crash or a restart: HOST:PORT.
	Address string
	// DataDir is where its data is, of one that is on the disk.
	DataDir string

	t       testing.TB
	binary  string
	log     string
	process *exec.Cmd
}

// Start starts the binary that TAFFRAIL_BINARY names, or `taffrail` on the PATH, and waits until it can be connected to.
func Start(t testing.TB) *Broker {
	t.Helper()
	return start(t, "")
}

// StartOnDisk starts one with its data in a directory that is removed with it. It can be away for a while, by Kill or Stop
// and then Start; its power cannot be cut, nor its clock moved.
func StartOnDisk(t testing.TB) *Broker {
	t.Helper()
	return start(t, filepath.Join(t.TempDir(), "data"))
}

func start(t testing.TB, dataDir string) *Broker {
	t.Helper()
	binary, err := exec.LookPath(cmp.Or(os.Getenv("TAFFRAIL_BINARY"), "taffrail"))
	if err != nil {
		t.Fatalf("there is no taffrail on the PATH, and TAFFRAIL_BINARY does not name one: %v", err)
	}
	broker := &Broker{
		Address: "127.0.0.1:0", DataDir: dataDir, t: t, binary: binary, log: filepath.Join(t.TempDir(), "log"),
	}
	t.Cleanup(broker.Kill)
	broker.serve()
	return broker
}

// Start starts it again on what is on the disk.
func (b *Broker) Start() {
	b.t.Helper()
	if b.DataDir == "" {
		b.t.Fatal("its data was in memory: use Crash instead of Kill and Start, or StartOnDisk")
	}
	b.serve()
}

func (b *Broker) serve() {
	b.t.Helper()
	log, err := os.OpenFile(b.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		b.t.Fatal(err)
	}
	defer log.Close()
	arguments := []string{"serve", "--listen", b.Address}
	if b.DataDir == "" {
		arguments = append(arguments, "--ephemeral")
	} else {
		arguments = append(arguments, "--with-parent", "--data-dir", b.DataDir, "--log-format", "json")
	}
	b.process = exec.Command(b.binary, arguments...)
	b.process.Stderr = log
	output, err := b.process.StdoutPipe()
	if err != nil {
		b.t.Fatal(err)
	}
	if err := b.process.Start(); err != nil {
		b.t.Fatal(err)
	}
	line, _ := bufio.NewReader(output).ReadBytes('\n')
	var listening struct{ Address string }
	if json.Unmarshal(line, &listening) != nil || listening.Address == "" {
		b.t.Fatalf("the broker ended instead of serving: %v\n%s", b.process.Wait(), b.Log())
	}
	b.Address = listening.Address
}

// Crash cuts its power, and waits until it has recovered. All connections break; what was acknowledged is there.
func (b *Broker) Crash() {
	b.t.Helper()
	b.call(func(ctx context.Context, conn *grpc.ClientConn) error {
		_, err := pb.NewAdminClient(conn).Crash(ctx, &pb.CrashRequest{})
		if status.Code(err) != codes.Unavailable {
			return err
		}
		_, err = pb.NewBrokerClient(conn).GetClock(ctx, &pb.GetClockRequest{}, grpc.WaitForReady(true))
		return err
	})
}

// Advance lets time pass for it at once: members time out, records expire.
func (b *Broker) Advance(by time.Duration) {
	b.t.Helper()
	b.call(func(ctx context.Context, conn *grpc.ClientConn) error {
		_, err := pb.NewAdminClient(conn).Advance(ctx, &pb.AdvanceRequest{ByMs: uint64(by.Milliseconds())})
		return err
	})
}

func (b *Broker) call(do func(context.Context, *grpc.ClientConn) error) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := grpc.NewClient(b.Address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		b.t.Fatal(err)
	}
	defer conn.Close()
	if err := do(ctx, conn); err != nil {
		b.t.Fatal(err)
	}
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
