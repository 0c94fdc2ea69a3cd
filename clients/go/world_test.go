package taffrail_test

import (
	"context"
	"net"
	"strconv"
	"sync"
	"testing"
	"time"

	taffrail "taffrail.dev/go"
	"taffrail.dev/go/taffrailtest"
)

// patience is for how long a test waits before it fails; none passes because of it.
const patience = time.Minute

// world is a broker, a client, and a proxy between them that can lose what passes it.
type world struct {
	*testing.T
	ctx    context.Context
	broker *taffrailtest.Broker
	client *taffrail.Client
}

func newWorld(t *testing.T) *world { return newWorldOf(t, taffrailtest.Start) }

// newWorldOnDisk has a broker that can be away for a while.
func newWorldOnDisk(t *testing.T) *world { return newWorldOf(t, taffrailtest.StartOnDisk) }

func newWorldOf(t *testing.T, start func(testing.TB) *taffrailtest.Broker) *world {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	w := &world{T: t, ctx: ctx, broker: start(t)}
	w.client = w.connect(w.broker.Address)
	return w
}

func (w *world) connect(address string) *taffrail.Client {
	client, err := taffrail.New(address)
	w.check(err)
	w.Cleanup(func() { client.Close() })
	return client
}

func (w *world) check(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) create(topic string, partitions uint32) {
	w.Helper()
	_, err := w.client.CreateTopic(w.ctx, topic, partitions, nil)
	w.check(err)
}

// append appends records with these numbers once the broker is there.
func (w *world) append(topic string, numbers ...int) {
	w.Helper()
	w.untilAnswered()
	_, err := w.client.Append(w.ctx, topic, numbered(numbers...))
	w.check(err)
}

func (w *world) appendTo(topic string, partition uint32, numbers ...int) {
	w.Helper()
	w.untilAnswered()
	records := numbered(numbers...)
	for at := range records {
		records[at].Key = nil
	}
	batches := []taffrail.Batch{{Topic: topic, Records: records, Partition: &partition}}
	_, err := w.client.AppendBatches(w.ctx, taffrail.Append{Batches: batches})
	w.check(err)
}

func (w *world) untilAnswered() {
	w.Helper()
	w.until(func() bool {
		for _, err := range w.client.Topics(w.ctx, "") {
			return err == nil
		}
		return true
	})
}

func (w *world) until(holds func() bool) {
	w.Helper()
	for !holds() {
		w.check(w.ctx.Err())
		time.Sleep(10 * time.Millisecond)
	}
}

func (w *world) end(topic string) uint64 {
	described, err := w.client.DescribeTopic(w.ctx, topic)
	w.check(err)
	return described.Partitions[0].HighWatermark
}

// read is the values of all records of a topic.
func (w *world) read(topic string) []string {
	w.Helper()
	reading, err := w.client.Read(w.ctx, topic, taffrail.ReadOptions{})
	w.check(err)
	values := []string{}
	for record, err := range reading.All() {
		w.check(err)
		values = append(values, string(record.Value))
	}
	return values
}

func (w *world) follow(client *taffrail.Client, topic string, options taffrail.ReadOptions) *taffrail.Reading {
	w.Helper()
	options.Follow = true
	reading, err := client.Read(w.ctx, topic, options)
	w.check(err)
	w.Cleanup(reading.Close)
	return reading
}

// next is the value of the next record.
func (w *world) next(reading *taffrail.Reading) string {
	w.Helper()
	record, err := reading.Next()
	w.check(err)
	return string(record.Value)
}

func (w *world) join(client *taffrail.Client, options taffrail.JoinOptions) *taffrail.Member {
	w.Helper()
	options.Topics = []string{"t"}
	member, err := client.Join(w.ctx, "g", options)
	w.check(err)
	w.Cleanup(func() { member.Close() })
	return member
}

func (w *world) nextOf(member *taffrail.Member) string {
	w.Helper()
	record, err := member.Next(w.ctx)
	w.check(err)
	return string(record.Value)
}

func (w *world) committed() map[taffrail.TopicPartition]uint64 {
	w.Helper()
	committed, err := w.client.Committed(w.ctx, "g")
	w.check(err)
	return committed
}

// beside runs it in another goroutine; what it answers is waited for by the function that is returned.
func beside[T any](w *world, run func() T) func() T {
	done := make(chan T, 1)
	go func() { done <- run() }()
	return func() T {
		w.Helper()
		select {
		case result := <-done:
			return result
		case <-w.ctx.Done():
			w.Fatal("it did not end")
			panic("not reached")
		}
	}
}

func numbered(numbers ...int) []taffrail.Record {
	records := make([]taffrail.Record, len(numbers))
	for at, number := range numbers {
		records[at] = taffrail.Record{Key: []byte("key"), Value: []byte(strconv.Itoa(number))}
	}
	return records
}

// proxy stands between a client and the broker.
type proxy struct {
	address string
	mutex   sync.Mutex
	conns   []net.Conn
	// Closed while answers pass.
	passes chan struct{}
}

func (w *world) proxy() *proxy {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	w.check(err)
	p := &proxy{address: listener.Addr().String(), passes: make(chan struct{})}
	close(p.passes)
	w.Cleanup(func() {
		listener.Close()
		p.cut()
	})
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			broker, err := net.Dial("tcp", w.broker.Address)
			if err != nil {
				client.Close()
				continue
			}
			p.mutex.Lock()
			p.conns = append(p.conns, client, broker)
			p.mutex.Unlock()
			go p.pump(client, broker, false)
			go p.pump(broker, client, true)
		}
	}()
	return p
}

// holdAnswers passes nothing on that the broker says from now on.
func (p *proxy) holdAnswers() {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.passes = make(chan struct{})
}

// cut ends all connections, with what was held; new ones are as they should be.
func (p *proxy) cut() {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	for _, conn := range p.conns {
		conn.Close()
	}
	p.conns = nil
	select {
	case <-p.passes:
	default:
		close(p.passes)
	}
}

func (p *proxy) pump(source, sink net.Conn, isAnswer bool) {
	defer source.Close()
	defer sink.Close()
	buffer := make([]byte, 1<<16)
	for {
		read, err := source.Read(buffer)
		if err != nil {
			return
		}
		if isAnswer {
			p.mutex.Lock()
			passes := p.passes
			p.mutex.Unlock()
			<-passes
		}
		if _, err := sink.Write(buffer[:read]); err != nil {
			return
		}
	}
}
