// Command conformance carries out the commands of the conformance kit with the Go client: one command a line on standard
// input, one answer a line on standard output. See ../../README.md.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/encoding/gzip"

	taffrail "taffrail.dev/go"
)

type object = map[string]any

// command has what any of the commands has.
type command struct {
	ID                uint64
	Do                string
	Client, As, Of    string
	What              uint64
	Address, CA       string
	Token             string
	Gzip              bool
	TimeoutMs         int64 `json:"timeout_ms"`
	Topic             string
	Partitions        json.RawMessage
	Partition         *uint32
	Records           []wireRecord
	Conditions        []wireCondition
	Name              string
	GiveUpAfterMs     int64 `json:"give_up_after_ms"`
	Follow            bool
	Start             json.RawMessage
	Keys, Types       []string
	MaxRecords        uint64 `json:"max_records"`
	Key               string
	FromVersion       uint64 `json:"from_version,string"`
	Count             int
	Group             string
	Topics            []string
	SessionTimeoutMs  int64  `json:"session_timeout_ms"`
	CreditRecords     uint64 `json:"credit_records"`
	CommitsExplicitly bool   `json:"commits_explicitly"`
	CommitIntervalMs  int64  `json:"commit_interval_ms"`
}

var errUnsupported = errors.New("the client does not have this")

// connected is a client, and how long its calls wait for their answers.
type connected struct {
	*taffrail.Client
	timeout time.Duration
}

type runner struct {
	mutex   sync.Mutex
	named   map[string]any
	cancels map[uint64]context.CancelFunc
}

func main() {
	r := &runner{named: map[string]any{}, cancels: map[uint64]context.CancelFunc{}}
	input := json.NewDecoder(os.Stdin)
	for {
		var c command
		if err := input.Decode(&c); err != nil {
			if err != io.EOF {
				fmt.Fprintln(os.Stderr, err)
			}
			return
		}
		ctx, cancel := context.WithCancel(context.Background())
		r.mutex.Lock()
		r.cancels[c.ID] = cancel
		r.mutex.Unlock()
		go r.answer(ctx, &c)
	}
}

func (r *runner) answer(ctx context.Context, c *command) {
	ok, err := r.carryOut(ctx, c)
	answer := object{"id": c.ID}
	if err != nil {
		answer["error"] = described(err)
	} else {
		if ok == nil {
			ok = object{}
		}
		answer["ok"] = ok
	}
	r.mutex.Lock()
	defer r.mutex.Unlock()
	delete(r.cancels, c.ID)
	json.NewEncoder(os.Stdout).Encode(answer)
}

func (r *runner) carryOut(ctx context.Context, c *command) (object, error) {
	commands := map[string]func(context.Context, *command) (object, error){
		"connect": r.connect, "disconnect": r.disconnect, "create_topic": r.createTopic, "describe_topic": r.describeTopic,
		"append": r.append, "producer": r.producer, "produce": r.produce, "resend": r.resend, "read": r.read,
		"read_key": r.readKey, "next": r.next, "close": r.close, "latest": r.latest, "erase": r.erase, "join": r.join,
		"commit": r.commit, "leave": r.leave, "committed": r.committed, "cancel": r.cancel,
	}
	run := commands[c.Do]
	if run == nil {
		return nil, errUnsupported
	}
	return run(ctx, c)
}

func (r *runner) get(name string) any {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	return r.named[name]
}

func (r *runner) put(name string, item any) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.named[name] = item
}

func (r *runner) client(c *command) connected { return r.get(c.Client).(connected) }

// within is the context of a call that has one answer.
func (r *runner) within(ctx context.Context, c *command) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, r.client(c).timeout)
}

func (r *runner) connect(_ context.Context, c *command) (object, error) {
	var options []grpc.DialOption
	if c.Gzip {
		options = append(options, grpc.WithDefaultCallOptions(grpc.UseCompressor(gzip.Name)))
	}
	if c.CA != "" {
		pem, err := os.ReadFile(c.CA)
		if err != nil {
			return nil, err
		}
		authorities := x509.NewCertPool()
		authorities.AppendCertsFromPEM(pem)
		secure := credentials.NewTLS(&tls.Config{RootCAs: authorities})
		options = append(options, grpc.WithTransportCredentials(secure))
	}
	if c.Token != "" {
		options = append(options, taffrail.WithToken(c.Token))
	}
	client, err := taffrail.New(c.Address, options...)
	if err != nil {
		return nil, err
	}
	timeout := 30 * time.Second
	if c.TimeoutMs > 0 {
		timeout = time.Duration(c.TimeoutMs) * time.Millisecond
	}
	r.put(c.As, connected{client, timeout})
	return nil, nil
}

func (r *runner) disconnect(_ context.Context, c *command) (object, error) {
	return nil, r.client(c).Close()
}

func (r *runner) createTopic(ctx context.Context, c *command) (object, error) {
	ctx, cancel := r.within(ctx, c)
	defer cancel()
	var partitions uint32
	if err := json.Unmarshal(c.Partitions, &partitions); err != nil {
		return nil, err
	}
	_, err := r.client(c).CreateTopic(ctx, c.Topic, partitions, nil)
	return nil, err
}

func (r *runner) describeTopic(ctx context.Context, c *command) (object, error) {
	ctx, cancel := r.within(ctx, c)
	defer cancel()
	topic, err := r.client(c).DescribeTopic(ctx, c.Topic)
	if err != nil {
		return nil, err
	}
	partitions := []object{}
	for _, each := range topic.Partitions {
		partitions = append(partitions, object{
			"partition": each.Partition, "earliest": digits(each.Earliest), "high_watermark": digits(each.HighWatermark),
		})
	}
	return object{"partitions": partitions}, nil
}

func (r *runner) append(ctx context.Context, c *command) (object, error) {
	ctx, cancel := r.within(ctx, c)
	defer cancel()
	request := taffrail.Append{
		Batches:        []taffrail.Batch{{Topic: c.Topic, Records: recordsOf(c.Records), Partition: c.Partition}},
		ReturnVersions: true,
	}
	for _, each := range c.Conditions {
		request.Conditions = append(request.Conditions, each.condition())
	}
	appended, err := r.client(c).AppendBatches(ctx, request)
	if err != nil {
		return nil, err
	}
	ranges := []object{}
	for _, each := range appended[0].Ranges {
		versions := []string{}
		for _, version := range each.Versions {
			versions = append(versions, digits(version))
		}
		ranges = append(ranges, object{
			"partition": each.Partition, "first_offset": digits(each.FirstOffset), "versions": versions,
		})
	}
	return object{"ranges": ranges}, nil
}

func (r *runner) producer(ctx context.Context, c *command) (object, error) {
	ctx, cancel := r.within(ctx, c)
	defer cancel()
	options := taffrail.ProducerOptions{Name: c.Name, GiveUpAfter: time.Duration(c.GiveUpAfterMs) * time.Millisecond}
	producer, err := r.client(c).Producer(ctx, c.Topic, options)
	r.put(c.As, producer)
	return nil, err
}

func (r *runner) produce(ctx context.Context, c *command) (object, error) {
	_, err := r.get(c.Of).(*taffrail.Producer).Append(ctx, recordsOf(c.Records)...)
	return nil, err
}

func (r *runner) resend(ctx context.Context, c *command) (object, error) {
	_, _, err := r.get(c.Of).(*taffrail.Producer).Resend(ctx)
	return nil, err
}

func (r *runner) read(_ context.Context, c *command) (object, error) {
	options := taffrail.ReadOptions{
		Start: positionOf(c.Start), Follow: c.Follow, MaxRecords: c.MaxRecords, Types: c.Types, Keys: octetsOfAll(c.Keys),
	}
	var partitions []uint32
	if c.Partitions != nil {
		if err := json.Unmarshal(c.Partitions, &partitions); err != nil {
			return nil, err
		}
		options.Partitions = map[uint32]taffrail.Position{}
	}
	for _, partition := range partitions {
		options.Partitions[partition] = options.Start
	}
	// The context is that of the whole read, which goes on behind this command.
	reading, err := r.client(c).Read(context.Background(), c.Topic, options)
	r.put(c.As, reading)
	return nil, err
}

func (r *runner) readKey(_ context.Context, c *command) (object, error) {
	options := taffrail.KeyOptions{FromVersion: c.FromVersion}
	reading, err := r.client(c).ReadKey(context.Background(), c.Topic, octets(c.Key), options)
	if err != nil {
		return nil, err
	}
	next, stop := iter.Pull2(reading.All())
	r.put(c.As, keyReading{next, stop})
	return nil, nil
}

// keyReading is the loop over the records of an entity, a step at a time.
type keyReading struct {
	next func() (taffrail.StoredRecord, error, bool)
	stop func()
}

func (r *runner) next(ctx context.Context, c *command) (object, error) {
	records := []object{}
	for len(records) < c.Count {
		record, err := r.following(ctx, c)
		if err == io.EOF {
			return object{"records": records, "end": true}, nil
		}
		if err != nil {
			return nil, err
		}
		records = append(records, stored(record))
	}
	return object{"records": records, "end": false}, nil
}

func (r *runner) following(ctx context.Context, c *command) (taffrail.StoredRecord, error) {
	switch of := r.get(c.Of).(type) {
	case *taffrail.Reading:
		// A read has a context of its own, and is cancelled by closing it.
		stop := context.AfterFunc(ctx, of.Close)
		defer stop()
		return of.Next()
	case keyReading:
		record, err, isThere := of.next()
		if !isThere {
			return record, io.EOF
		}
		return record, err
	case *taffrail.Member:
		return of.Next(ctx)
	}
	return taffrail.StoredRecord{}, errUnsupported
}

func (r *runner) close(_ context.Context, c *command) (object, error) {
	switch of := r.get(c.Of).(type) {
	case *taffrail.Reading:
		of.Close()
	case keyReading:
		of.stop()
	}
	return nil, nil
}

func (r *runner) latest(ctx context.Context, c *command) (object, error) {
	ctx, cancel := r.within(ctx, c)
	defer cancel()
	entities, err := r.client(c).GetLatest(ctx, c.Topic, octetsOfAll(c.Keys)...)
	if err != nil {
		return nil, err
	}
	latest := []object{}
	for _, each := range entities {
		found := object{"version": digits(each.Version), "record": nil}
		if each.Record != nil {
			found["record"] = stored(*each.Record)
		}
		latest = append(latest, found)
	}
	return object{"latest": latest}, nil
}

func (r *runner) erase(ctx context.Context, c *command) (object, error) {
	ctx, cancel := r.within(ctx, c)
	defer cancel()
	_, err := r.client(c).Erase(ctx, c.Topic, octets(c.Key))
	return nil, err
}

func (r *runner) join(ctx context.Context, c *command) (object, error) {
	ctx, cancel := r.within(ctx, c)
	defer cancel()
	member, err := r.client(c).Join(ctx, c.Group, taffrail.JoinOptions{
		Topics: c.Topics, Name: c.Name, CreditRecords: c.CreditRecords, CommitExplicitly: c.CommitsExplicitly,
		SessionTimeout: time.Duration(c.SessionTimeoutMs) * time.Millisecond,
		CommitInterval: time.Duration(c.CommitIntervalMs) * time.Millisecond,
	})
	r.put(c.As, member)
	return nil, err
}

func (r *runner) commit(ctx context.Context, c *command) (object, error) {
	outcomes, err := r.get(c.Of).(*taffrail.Member).Commit(ctx)
	names := []string{}
	for _, each := range outcomes {
		names = append(names, strings.TrimPrefix(each.String(), "COMMIT_OUTCOME_"))
	}
	return object{"outcomes": names}, err
}

func (r *runner) leave(ctx context.Context, c *command) (object, error) {
	return nil, r.get(c.Of).(*taffrail.Member).Leave(ctx)
}

func (r *runner) committed(ctx context.Context, c *command) (object, error) {
	ctx, cancel := r.within(ctx, c)
	defer cancel()
	committed, err := r.client(c).Committed(ctx, c.Group)
	offsets := [][]any{}
	for place, next := range committed {
		offsets = append(offsets, []any{place.Topic, place.Partition, digits(next)})
	}
	slices.SortFunc(offsets, func(a, b []any) int {
		return strings.Compare(fmt.Sprint(a[0], a[1]), fmt.Sprint(b[0], b[1]))
	})
	return object{"offsets": offsets}, err
}

func (r *runner) cancel(_ context.Context, c *command) (object, error) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.cancels[c.What]()
	return nil, nil
}

func digits(number uint64) string { return strconv.FormatUint(number, 10) }
