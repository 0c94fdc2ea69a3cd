package taffrail_test

import (
	"context"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	taffrail "taffrail.dev/go"
	pb "taffrail.dev/go/taffrailv1"
)

func TestAFollowGoesOnAfterKill9AndARestart(t *testing.T) {
	w := newWorldOnDisk(t)
	w.create("t", 2)
	w.append("t", 0, 1)
	reading := w.follow(w.client, "t", taffrail.ReadOptions{})
	equal(w, []string{w.next(reading), w.next(reading)}, []string{"0", "1"})
	for number := 2; number < 6; number++ {
		end := w.broker.Kill
		if number == 5 {
			end = w.broker.Stop
		}
		// It waits while there is no broker, and asks for records that come later.
		following := beside(w, func() string {
			record, err := reading.Next()
			if err != nil {
				return err.Error()
			}
			return string(record.Value)
		})
		end()
		w.broker.Start()
		w.append("t", number)
		equal(w, following(), strconv.Itoa(number))
	}
}

func TestAFollowFromTheEndMissesNothingThoughItWasCutBeforeItHeardAnything(t *testing.T) {
	w := newWorld(t)
	w.create("t", 3)
	w.append("t", 0)
	reading := w.follow(w.client, "t", taffrail.ReadOptions{Start: taffrail.Latest()})
	w.append("t", 1, 2)
	w.broker.Crash()
	equal(w, []string{w.next(reading), w.next(reading)}, []string{"1", "2"})
}

func TestAFollowThatIsCutBetweenRecordsHasEachOnce(t *testing.T) {
	w := newWorld(t)
	w.create("t", 1)
	proxy := w.proxy()
	reading := w.follow(w.connect(proxy.address), "t", taffrail.ReadOptions{})
	for number := range 20 {
		w.append("t", number)
		equal(w, w.next(reading), strconv.Itoa(number))
		proxy.cut()
	}
	equal(w, reading.Positions(), map[uint32]uint64{0: 20})
}

func TestAFollowSaysWhatWasTrimmedWhileItWasAway(t *testing.T) {
	w := newWorld(t)
	w.create("t", 1)
	w.append("t", 0)
	reading := w.follow(w.client, "t", taffrail.ReadOptions{})
	w.next(reading)
	w.broker.Crash()
	w.append("t", 1, 2)
	_, err := w.client.Trim(w.ctx, "t", 0, 2, false)
	w.check(err)
	_, err = reading.Next()
	expect(w, err, taffrail.ErrOffsetOutOfRange)
	equal(w, []uint64{told(w, err).Number("earliest"), told(w, err).Number("high_watermark")}, []uint64{2, 3})
}

func TestAFollowEndsWhereTheTopicWasCreatedAnew(t *testing.T) {
	w := newWorld(t)
	w.create("t", 1)
	w.append("t", 0)
	reading := w.follow(w.client, "t", taffrail.ReadOptions{})
	w.next(reading)
	w.broker.Crash()
	w.untilAnswered()
	w.check(w.client.DeleteTopic(w.ctx, "t"))
	w.create("t", 1)
	w.append("t", 1, 2)
	_, err := reading.Next()
	if reason := told(w, err).Reason; reason != "TOPIC_RECREATED" && reason != "UNKNOWN_TOPIC" {
		t.Fatal(err)
	}
}

func TestTheTimeThatAFollowWaitsIsThereAgainAfterItHasGivenUp(t *testing.T) {
	w := newWorldOnDisk(t)
	w.create("t", 1)
	w.append("t", 0)
	reading := w.follow(w.client, "t", taffrail.ReadOptions{GiveUpAfter: time.Nanosecond})
	w.next(reading)
	w.broker.Kill()
	for range 2 {
		_, err := reading.Next()
		expect(w, err, taffrail.ErrUnavailable)
	}
	w.broker.Start()
	w.append("t", 1)
	w.until(func() bool {
		record, err := reading.Next()
		return err == nil && string(record.Value) == "1"
	})
}

func TestAReadIsOfWhatItIsAskedFor(t *testing.T) {
	w := newWorld(t)
	w.create("t", 2)
	for number := range 4 {
		w.appendTo("t", uint32(number%2), number)
	}
	earliest := taffrail.Position{}
	for _, each := range []struct {
		options taffrail.ReadOptions
		values  []string
	}{
		{taffrail.ReadOptions{Partitions: map[uint32]taffrail.Position{1: earliest}}, []string{"1", "3"}},
		{taffrail.ReadOptions{Partitions: map[uint32]taffrail.Position{0: taffrail.At(1), 1: taffrail.Latest()}}, []string{"2"}},
		{taffrail.ReadOptions{Start: taffrail.Since(time.Now().Add(time.Hour))}, nil},
		{taffrail.ReadOptions{Start: taffrail.Since(time.UnixMilli(0))}, []string{"0", "1", "2", "3"}},
		{taffrail.ReadOptions{Types: []string{"none"}}, nil},
	} {
		reading, err := w.client.Read(w.ctx, "t", each.options)
		w.check(err)
		var values []string
		for record, err := range reading.All() {
			w.check(err)
			values = append(values, string(record.Value))
		}
		equal(w, sorted(values), each.values)
	}
	_, err := w.client.Read(w.ctx, "t", taffrail.ReadOptions{Partitions: map[uint32]taffrail.Position{2: earliest}})
	expect(w, err, taffrail.ErrNotFound)
}

func TestAReadHasItsRecordsAlsoWhereItBreaksOffBehindSome(t *testing.T) {
	w := newWorld(t)
	w.create("t", 1)
	for number := range 8 {
		value := strconv.Itoa(number) + strings.Repeat(" ", 1_000_000)
		_, err := w.client.Append(w.ctx, "t", []taffrail.Record{{Value: []byte(value)}})
		w.check(err)
	}
	proxy := w.proxy()
	reading, err := w.connect(proxy.address).Read(w.ctx, "t", taffrail.ReadOptions{MaxRecords: 7})
	w.check(err)
	var values []string
	for record, err := range reading.All() {
		w.check(err)
		values = append(values, string(record.Value[:1]))
		proxy.cut()
	}
	equal(w, values, []string{"0", "1", "2", "3", "4", "5", "6"})
}

func TestAFollowIsEndedByItsContextByAnotherGoroutineOrByLeavingIt(t *testing.T) {
	w := newWorld(t)
	w.create("t", 1)
	w.append("t", 0)
	ctx, cancel := context.WithCancel(w.ctx)
	byContext, err := w.client.Read(ctx, "t", taffrail.ReadOptions{Follow: true})
	w.check(err)
	w.next(byContext)
	closed := w.follow(w.client, "t", taffrail.ReadOptions{})
	w.next(closed)
	for record, err := range w.follow(w.client, "t", taffrail.ReadOptions{}).All() {
		w.check(err)
		equal(w, record.Offset, 0)
		break
	}
	following := beside(w, func() error {
		_, err := byContext.Next()
		return err
	})
	closing := beside(w, func() error {
		_, err := closed.Next()
		return err
	})
	w.until(func() bool { return calls(w) == 3 })
	cancel()
	expect(w, following(), context.Canceled)
	closed.Close()
	equal(w, errors.Is(closing(), io.EOF), true)
	w.until(func() bool { return calls(w) == 1 })
}

// calls is how many calls are under way, with that which asks for it.
func calls(w *world) uint64 {
	status, err := pb.NewBrokerClient(w.client.Conn()).Status(w.ctx, &pb.StatusRequest{})
	w.check(err)
	return status.Calls.Now
}

func TestBatchesSayHowFarTheReadIs(t *testing.T) {
	w := newWorld(t)
	w.create("t", 2)
	w.appendTo("t", 0, 1)
	w.appendTo("t", 1, 2, 3)
	reading, err := w.client.Read(w.ctx, "t", taffrail.ReadOptions{})
	w.check(err)
	var caughtUp []uint32
	for {
		batch, err := reading.NextBatch()
		if err == io.EOF {
			break
		}
		w.check(err)
		if batch.CaughtUp {
			caughtUp = append(caughtUp, batch.Partition)
		}
	}
	slices.Sort(caughtUp)
	equal(w, caughtUp, []uint32{0, 1})
	equal(w, reading.Positions(), map[uint32]uint64{0: 1, 1: 2})
}
