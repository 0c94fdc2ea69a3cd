package taffrailtest

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// patienceOfTests is for how long a test waits before it fails; none passes because of it.
const patienceOfTests = time.Minute

func TestABrokerEndsWithItsProgramAlsoByKill9(t *testing.T) {
	starts := map[string]func(testing.TB) *Broker{"memory": Start, "disk": StartOnDisk}
	if where, isProgram := os.LookupEnv("TAFFRAILTEST_PROGRAM"); isProgram {
		fmt.Println(starts[where](t).Address)
		time.Sleep(patienceOfTests)
		return
	}
	for where := range starts {
		t.Run(where, func(t *testing.T) {
			program := exec.Command(os.Args[0], "-test.run=^TestABrokerEndsWithItsProgramAlsoByKill9$")
			// The broker may be writing there for a moment longer.
			folder, err := os.MkdirTemp("", "")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { os.RemoveAll(folder) })
			program.Env = append(os.Environ(), "TAFFRAILTEST_PROGRAM="+where, "TMPDIR="+folder)
			output, err := program.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := program.Start(); err != nil {
				t.Fatal(err)
			}
			line, err := bufio.NewReader(output).ReadString('\n')
			address := strings.TrimSpace(line)
			if err != nil || !isThere(address) {
				t.Fatalf("it does not listen at %q: %v", line, err)
			}
			if err := program.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			// It says only that it was killed.
			_ = program.Wait()
			for until := time.Now().Add(patienceOfTests); isThere(address); time.Sleep(10 * time.Millisecond) {
				if time.Now().After(until) {
					t.Fatal("the broker has outlived its program")
				}
			}
		})
	}
}

func isThere(address string) bool {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return false
	}
	conn.Close()
	return true
}
