// Command bench measures this client: appends of 100 records of 1,000 bytes, one after the other and many at a time, and a
// follow that reads them.
//
// Usage: bench ADDRESS SECONDS, against a broker without topics. It prints records a second, as JSON.
package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"log"
	"os"
	"runtime/debug"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	taffrail "taffrail.dev/go"
)

const (
	recordsPerRequest = 100
	recordBytes       = 1000
	underWay          = 16
)

func main() {
	// A program has more on its heap than this one, whose few megabytes would be collected every few responses.
	debug.SetGCPercent(400)
	client, err := taffrail.New(os.Args[1])
	check(err)
	defer client.Close()
	seconds, err := strconv.ParseFloat(os.Args[2], 64)
	check(err)
	each := time.Duration(seconds * float64(time.Second))
	// What is allocated and connected once is not measured.
	warmUp := newBench(client, "warm-up")
	warmUp.appendManyAtATime(time.Second)
	warmUp.follow()
	check(client.DeleteTopic(warmUp.ctx, "warm-up"))
	bench := newBench(client, "bench")
	one, many := bench.appendOneByOne(each), bench.appendManyAtATime(each)
	measured := map[string]float64{"one": one, "many": many, "follow": bench.follow()}
	check(json.NewEncoder(os.Stdout).Encode(measured))
}

type bench struct {
	client *taffrail.Client
	topic  string
	ctx    context.Context
	// How many records have been appended.
	appended atomic.Uint64
}

func newBench(client *taffrail.Client, topic string) *bench {
	ctx := context.Background()
	_, err := client.CreateTopic(ctx, topic, 1, nil)
	check(err)
	return &bench{client: client, topic: topic, ctx: ctx}
}

// appendOneByOne has a producer append a request when the one before is stored.
func (b *bench) appendOneByOne(least time.Duration) float64 {
	producer, err := b.client.Producer(b.ctx, b.topic, taffrail.ProducerOptions{})
	check(err)
	return b.measure(least, 1, func(records []taffrail.Record) error {
		_, err := producer.Append(b.ctx, records...)
		return err
	})
}

// appendManyAtATime has some requests under way.
func (b *bench) appendManyAtATime(least time.Duration) float64 {
	return b.measure(least, underWay, func(records []taffrail.Record) error {
		_, err := b.client.Append(b.ctx, b.topic, records)
		return err
	})
}

func (b *bench) measure(least time.Duration, goroutines int, appendRecords func([]taffrail.Record) error) float64 {
	before, start := b.appended.Load(), time.Now()
	var running sync.WaitGroup
	for range goroutines {
		running.Go(func() {
			for time.Since(start) < least {
				check(appendRecords(b.nextRecords()))
			}
		})
	}
	running.Wait()
	return float64(b.appended.Load()-before) / time.Since(start).Seconds()
}

// nextRecords is the records of a request. Each begins with its number.
func (b *bench) nextRecords() []taffrail.Record {
	first := b.appended.Add(recordsPerRequest) - recordsPerRequest
	records := make([]taffrail.Record, recordsPerRequest)
	for at := range records {
		value := make([]byte, recordBytes)
		binary.BigEndian.PutUint64(value, first+uint64(at))
		records[at].Value = value
	}
	return records
}

// follow reads all that was appended, and checks that each record is there once.
func (b *bench) follow() float64 {
	start, appended := time.Now(), b.appended.Load()
	reading, err := b.client.Read(b.ctx, b.topic, taffrail.ReadOptions{Follow: true})
	check(err)
	defer reading.Close()
	seen := make([]bool, appended)
	for count := uint64(0); count < appended; {
		batch, err := reading.NextBatch()
		check(err)
		for _, record := range batch.Records {
			number := binary.BigEndian.Uint64(record.Value)
			if len(record.Value) != recordBytes || seen[number] {
				log.Fatalf("record %d came twice, or was changed", number)
			}
			seen[number] = true
			count++
		}
	}
	return float64(appended) / time.Since(start).Seconds()
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
