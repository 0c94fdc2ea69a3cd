package taffrail_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	taffrail "taffrail.dev/go"
)

func TestTopicsAreCreatedListedAlteredTrimmedAndDeleted(t *testing.T) {
	w := newWorld(t)
	_, err := w.client.CreateTopic(w.ctx, "a.1", 2, map[string]string{"retention.ms": "1d"})
	w.check(err)
	w.create("a.2", 0)
	w.create("b", 1)
	var names []string
	for topic, err := range w.client.Topics(w.ctx, "a.") {
		w.check(err)
		names = append(names, topic.Name)
	}
	equal(w, names, []string{"a.1", "a.2"})
	removals, err := w.client.WouldRemove(w.ctx, "a.1", map[string]string{"retention.bytes": "256KiB"})
	w.check(err)
	equal(w, len(removals), 0)
	altered, err := w.client.AlterTopic(w.ctx, "a.1", map[string]string{"segment.ms": "1d"}, "retention.ms")
	w.check(err)
	for setting, value := range map[string]string{"retention.bytes": "-1", "segment.ms": "86400000", "retention.ms": "-1"} {
		equal(w, altered.Settings[setting], value)
	}
	w.append("b", 0, 1, 2)
	earliest, err := w.client.Trim(w.ctx, "b", 0, 2, false)
	w.check(err)
	equal(w, earliest, 2)
	w.check(w.client.DeleteTopic(w.ctx, "b"))
	_, err = w.client.DescribeTopic(w.ctx, "b")
	expect(w, err, taffrail.ErrNotFound)
	equal(w, told(w, err).Metadata["topic"], "b")
	equal(w, told(w, err).Reason, "UNKNOWN_TOPIC")
	_, err = w.client.CreateTopic(w.ctx, "a.1", 1, nil)
	expect(w, err, taffrail.ErrAlreadyExists)
}

func TestABrokerIsReachedByItsURLAndByItsSocket(t *testing.T) {
	w := newWorldOnDisk(t)
	for _, address := range []string{"http://" + w.broker.Address, "unix:" + w.broker.DataDir + "/admin.sock"} {
		for topic, err := range w.connect(address).Topics(w.ctx, "") {
			t.Fatal(address, topic, err)
		}
	}
}

func TestAConflictSaysWhatDoesNotHoldAndTheActualVersion(t *testing.T) {
	w := newWorld(t)
	w.create("t", 1)
	w.append("t", 1, 2)
	key := []byte("key")
	conditions := []taffrail.Condition{
		taffrail.KeyAtVersion(key, 2), taffrail.KeyExists([]byte("other")), taffrail.NextOffset(0, 2),
		taffrail.KeyAbsent(key), taffrail.NextOffset(0, math.MaxUint64),
	}
	_, err := w.client.Append(w.ctx, "t", numbered(3), conditions...)
	expect(w, err, taffrail.ErrConflict)
	expect(w, err, taffrail.ErrRefused)
	failed := []taffrail.FailedCondition{{Index: 1, Actual: 0}, {Index: 3, Actual: 2}, {Index: 4, Actual: 2}}
	equal(w, told(w, err).Failed, failed)
	equal(w, told(w, err).Code, codes.Aborted)
	appended, err := w.client.Append(w.ctx, "t", numbered(3), conditions[0])
	w.check(err)
	equal(w, appended.Ranges[0].FirstOffset, 2)
}

func TestAnAppendToSeveralTopicsIsOne(t *testing.T) {
	w := newWorld(t)
	w.create("a", 1)
	w.create("b", 1)
	request := taffrail.Append{
		Batches:        []taffrail.Batch{{Topic: "a", Records: numbered(1)}, {Topic: "b", Records: numbered(2, 3)}},
		Conditions:     []taffrail.Condition{taffrail.KeyExists([]byte("key")).Of("a")},
		ReturnVersions: true,
	}
	_, err := w.client.AppendBatches(w.ctx, request)
	expect(w, err, taffrail.ErrConflict)
	equal(w, w.read("b"), []string{})
	request.Conditions = []taffrail.Condition{taffrail.KeyAbsent([]byte("key")).Of("a")}
	appended, err := w.client.AppendBatches(w.ctx, request)
	w.check(err)
	equal(w, appended[1].Ranges[0].Versions, []uint64{1, 2})
}

func TestKeysValuesAndHeadersAreAnyBytesAndNumbersHave64Bits(t *testing.T) {
	w := newWorld(t)
	w.create("t", 1)
	everything := make([]byte, 256)
	for at := range everything {
		everything[at] = byte(at)
	}
	headers := []taffrail.Header{{Name: "h", Value: everything}, {Name: "h", Value: []byte{}}}
	sent := []taffrail.Record{
		{Key: []byte{0}, Value: []byte{}},
		{Key: everything, Value: everything, Headers: headers, EventID: everything[:64], Type: "type"},
		{Key: []byte("k"), Time: time.UnixMilli(math.MaxInt64)},
		{Value: []byte("v"), Time: time.UnixMilli(math.MinInt64)},
		{Key: []byte("k"), Value: []byte("w"), Time: time.UnixMilli(1<<53 + 1)},
	}
	_, err := w.client.Append(w.ctx, "t", sent)
	w.check(err)
	reading, err := w.client.Read(w.ctx, "t", taffrail.ReadOptions{})
	w.check(err)
	versions := []uint64{1, 1, 1, 0, 2}
	at := 0
	for record, err := range reading.All() {
		w.check(err)
		want := sent[at]
		same := bytes.Equal(record.Key, want.Key) && bytes.Equal(record.Value, want.Value) && record.Type == want.Type &&
			(record.Key == nil) == (want.Key == nil) && (record.Value == nil) == (want.Value == nil) &&
			bytes.Equal(record.EventID, want.EventID) && len(record.Headers) == len(want.Headers) &&
			(want.Time.IsZero() || want.Time.UnixMilli() == record.Time.UnixMilli())
		if !same || record.Version != versions[at] {
			t.Errorf("record %d is %+v", at, record)
		}
		at++
	}
	equal(w, at, len(sent))
	_, err = w.client.Append(w.ctx, "t", []taffrail.Record{{Key: []byte{}}})
	expect(w, err, taffrail.ErrRefused)
	equal(w, told(w, err).Reason, "MALFORMED_RECORD")
}

func TestTextThatIsNotUTF8IsRefusedAndTheProducerGoesOn(t *testing.T) {
	w := newWorld(t)
	w.create("t", 1)
	producer, err := w.client.Producer(w.ctx, "t", taffrail.ProducerOptions{})
	w.check(err)
	for _, record := range []taffrail.Record{{Type: "\xff"}, {Headers: []taffrail.Header{{Name: "\xff"}}}} {
		_, err := producer.Append(w.ctx, record)
		expect(w, err, taffrail.ErrRefused)
		_, err = w.client.Append(w.ctx, "t", []taffrail.Record{record})
		expect(w, err, taffrail.ErrRefused)
	}
	_, err = w.client.CreateTopic(w.ctx, "\xff", 1, nil)
	expect(w, err, taffrail.ErrRefused)
	reading, err := w.client.Read(w.ctx, "t", taffrail.ReadOptions{Types: []string{"\xff"}})
	w.check(err)
	_, err = reading.Next()
	expect(w, err, taffrail.ErrRefused)
	_, err = w.client.Join(w.ctx, "\xff", taffrail.JoinOptions{Topics: []string{"t"}})
	expect(w, err, taffrail.ErrRefused)
	appended, err := producer.Append(w.ctx, numbered(1)...)
	w.check(err)
	equal(w, appended.Ranges[0].FirstOffset, 0)
}

func TestWhatAClosedClientIsAskedEndsFinally(t *testing.T) {
	w := newWorld(t)
	w.create("t", 1)
	client := w.connect(w.broker.Address)
	following := w.follow(client, "t", taffrail.ReadOptions{GiveUpAfter: -1})
	member, err := client.Join(w.ctx, "g", taffrail.JoinOptions{Topics: []string{"t"}, GiveUpAfter: -1})
	w.check(err)
	producer, err := client.Producer(w.ctx, "t", taffrail.ProducerOptions{})
	w.check(err)
	ends := make(chan error)
	go func() {
		_, err := following.Next()
		ends <- err
	}()
	go func() {
		_, err := member.Next(w.ctx)
		ends <- err
	}()
	w.check(client.Close())
	for range 2 {
		expect(w, <-ends, taffrail.ErrClosed)
	}
	_, err = member.Next(w.ctx)
	expect(w, err, taffrail.ErrClosed)
	_, err = client.Append(w.ctx, "t", numbered(1))
	expect(w, err, taffrail.ErrClosed)
	for range 2 {
		// Nothing is in doubt.
		_, err = producer.Append(w.ctx, numbered(1)...)
		expect(w, err, taffrail.ErrClosed)
	}
	if errors.Is(err, taffrail.ErrOutcomeUnknown) || errors.Is(err, taffrail.ErrRefused) {
		t.Error(err)
	}
}

func TestAConditionThatSaysNothingIsRefused(t *testing.T) {
	w := newWorld(t)
	w.create("t", 1)
	for _, condition := range []taffrail.Condition{{}, taffrail.Condition{}.Of("t")} {
		_, err := w.client.Append(w.ctx, "t", numbered(1), condition)
		expect(w, err, taffrail.ErrRefused)
	}
}

func TestAnEntityIsReadByVersionAndErased(t *testing.T) {
	w := newWorld(t)
	w.create("t", 4)
	w.append("t", 1, 2, 3)
	for _, each := range []struct {
		options taffrail.KeyOptions
		values  []string
	}{
		{taffrail.KeyOptions{FromVersion: 2}, []string{"2", "3"}},
		{taffrail.KeyOptions{Backward: true, MaxRecords: 1}, []string{"3"}},
	} {
		reading, err := w.client.ReadKey(w.ctx, "t", []byte("key"), each.options)
		w.check(err)
		equal(w, reading.LatestVersion, 3)
		var values []string
		for record, err := range reading.All() {
			w.check(err)
			values = append(values, string(record.Value))
		}
		equal(w, values, each.values)
	}
	latest, err := w.client.GetLatest(w.ctx, "t", []byte("never"), []byte("key"))
	w.check(err)
	if latest[0].Version != 0 || latest[0].Record != nil || latest[1].Version != 3 || string(latest[1].Record.Value) != "3" {
		t.Errorf("latest is %+v", latest)
	}
	erasure, err := w.client.Erase(w.ctx, "t", []byte("key"))
	w.check(err)
	equal(w, w.read("t"), []string{"", "", ""})
	w.until(func() bool {
		described, err := w.client.DescribeErasure(w.ctx, erasure.ID)
		w.check(err)
		return described.Complete
	})
}

func TestWhatIsTooLargeIsRefusedAndWhatATopicMayHaveIsRead(t *testing.T) {
	w := newWorld(t)
	w.create("t", 1)
	_, err := w.client.CreateTopic(w.ctx, "large", 1, map[string]string{"max.record.bytes": "8MiB"})
	w.check(err)
	producer, err := w.client.Producer(w.ctx, "t", taffrail.ProducerOptions{})
	w.check(err)
	_, err = producer.Append(w.ctx, taffrail.Record{Value: make([]byte, 2<<20)})
	expect(w, err, taffrail.ErrRefused)
	equal(w, told(w, err).Reason, "RECORD_TOO_LARGE")
	appended, err := producer.Append(w.ctx, numbered(1)...)
	w.check(err)
	equal(w, appended.Ranges[0].FirstOffset, 0)
	six := taffrail.Record{Value: make([]byte, 6<<20)}
	_, err = w.client.Append(w.ctx, "large", []taffrail.Record{six, six, six})
	expect(w, err, taffrail.ErrRefused)
	equal(w, told(w, err).Reason, "REQUEST_TOO_LARGE")
	// A larger response than grpc-go receives by default.
	_, err = w.client.Append(w.ctx, "large", []taffrail.Record{{Key: []byte("key"), Value: make([]byte, 7<<20)}})
	w.check(err)
	equal(w, len(w.read("large")[0]), 7<<20)

	limited, err := taffrail.New(w.broker.Address, grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(1000)))
	w.check(err)
	defer limited.Close()
	reading, err := limited.Read(w.ctx, "large", taffrail.ReadOptions{GiveUpAfter: time.Nanosecond})
	w.check(err)
	_, err = reading.Next()
	expect(w, err, taffrail.ErrRefused)
}

func TestAProducerStoresOnceWhatItHasToSendAgain(t *testing.T) {
	w := newWorld(t)
	w.create("t", 1)
	proxy := w.proxy()
	producer, err := w.connect(proxy.address).Producer(w.ctx, "t", taffrail.ProducerOptions{ReturnVersions: true})
	w.check(err)
	_, err = producer.Append(w.ctx, numbered(1)...)
	w.check(err)
	proxy.holdAnswers()
	appending := beside(w, func() error {
		appended, err := producer.Append(w.ctx, numbered(2)...)
		if err == nil && (appended.Ranges[0].FirstOffset != 1 || appended.Ranges[0].Versions[0] != 2) {
			err = fmt.Errorf("appended: %+v", appended)
		}
		return err
	})
	w.until(func() bool { return w.end("t") == 2 })
	proxy.cut()
	w.check(appending())
	_, err = producer.Append(w.ctx, numbered(3)...)
	w.check(err)
	equal(w, w.read("t"), []string{"1", "2", "3"})
}

func TestTheOutcomeOfAnAppendWithoutAProducerIsUnknown(t *testing.T) {
	w := newWorld(t)
	w.create("t", 1)
	proxy := w.proxy()
	behind := w.connect(proxy.address)
	_, err := behind.DescribeTopic(w.ctx, "t")
	w.check(err)
	proxy.holdAnswers()
	appending := beside(w, func() error {
		_, err := behind.Append(w.ctx, "t", numbered(1))
		return err
	})
	w.until(func() bool { return w.end("t") == 1 })
	proxy.cut()
	expect(w, appending(), taffrail.ErrOutcomeUnknown)
	equal(w, w.read("t"), []string{"1"})
}

func TestADeadlineLeavesTheOutcomeOfAChangeOpenAndAQuestionUnanswered(t *testing.T) {
	w := newWorld(t)
	w.create("t", 1)
	proxy := w.proxy()
	behind := w.connect(proxy.address)
	_, err := behind.DescribeTopic(w.ctx, "t")
	w.check(err)
	proxy.holdAnswers()
	hasty, cancel := context.WithTimeout(w.ctx, 200*time.Millisecond)
	defer cancel()
	_, err = behind.Append(hasty, "t", numbered(1))
	expect(w, err, taffrail.ErrOutcomeUnknown)
	expect(w, err, context.DeadlineExceeded)
	equal(w, errors.Is(err, taffrail.ErrRefused), false)
	_, err = behind.DescribeTopic(hasty, "t")
	expect(w, err, taffrail.ErrUnavailable)
}

func TestWhatBecameOfACancelledAppendCanBeFoundOut(t *testing.T) {
	w := newWorld(t)
	w.create("t", 1)
	proxy := w.proxy()
	producer, err := w.connect(proxy.address).Producer(w.ctx, "t", taffrail.ProducerOptions{})
	w.check(err)
	proxy.holdAnswers()
	ctx, cancel := context.WithCancel(w.ctx)
	appending := beside(w, func() error {
		_, err := producer.Append(ctx, numbered(1)...)
		return err
	})
	w.until(func() bool { return w.end("t") == 1 })
	cancel()
	err = appending()
	expect(w, err, taffrail.ErrOutcomeUnknown)
	expect(w, err, context.Canceled)
	_, err = producer.Append(w.ctx, numbered(2)...)
	expect(w, err, taffrail.ErrOutcomeUnknown)
	proxy.cut()
	resent, isThere, err := producer.Resend(w.ctx)
	w.check(err)
	equal(w, isThere, true)
	equal(w, resent.Ranges[0].FirstOffset, 0)
	_, isThere, err = producer.Resend(w.ctx)
	w.check(err)
	equal(w, isThere, false)
	_, err = producer.Append(w.ctx, numbered(2)...)
	w.check(err)
	equal(w, w.read("t"), []string{"1", "2"})
}

func TestABrokerThatIsNotThereHasStoredNothing(t *testing.T) {
	w := newWorldOnDisk(t)
	w.create("t", 1)
	producer, err := w.client.Producer(w.ctx, "t", taffrail.ProducerOptions{GiveUpAfter: time.Nanosecond})
	w.check(err)
	w.broker.Kill()
	// What is sent on a connection that is about to break may have arrived.
	w.until(func() bool {
		_, err := w.client.DescribeTopic(w.ctx, "t")
		return err != nil && strings.Contains(err.Error(), "dialing")
	})
	_, err = w.client.Append(w.ctx, "t", numbered(1))
	expect(w, err, taffrail.ErrUnavailable)
	_, err = producer.Append(w.ctx, numbered(1)...)
	expect(w, err, taffrail.ErrUnavailable)
	w.broker.Start()
	w.untilAnswered()
	appended, err := producer.Append(w.ctx, numbered(1)...)
	w.check(err)
	equal(w, appended.Ranges[0].FirstOffset, 0)
}

func TestAProducerGoesOnAfterARestartAndIsFencedForGoodByAnother(t *testing.T) {
	w := newWorldOnDisk(t)
	w.create("t", 1)
	old, err := w.client.Producer(w.ctx, "t", taffrail.ProducerOptions{Name: "p"})
	w.check(err)
	_, err = old.Append(w.ctx, numbered(1)...)
	w.check(err)
	w.broker.Kill()
	appending := beside(w, func() error {
		_, err := old.Append(w.ctx, numbered(2)...)
		return err
	})
	w.broker.Start()
	w.check(appending())
	_, err = w.client.Producer(w.ctx, "t", taffrail.ProducerOptions{Name: "p"})
	w.check(err)
	for range 2 {
		_, err = old.Append(w.ctx, numbered(3)...)
		expect(w, err, taffrail.ErrFenced)
	}
	equal(w, w.read("t"), []string{"1", "2"})
}

func TestAProducerPutsKeysWhereTheBrokerDoes(t *testing.T) {
	w := newWorld(t)
	w.create("t", 7)
	var records []taffrail.Record
	var keys [][]byte
	for number := 1; number < 40; number++ {
		key := bytes.Repeat([]byte{byte(number)}, number)
		keys, records = append(keys, key), append(records, taffrail.Record{Key: key})
	}
	producer, err := w.client.Producer(w.ctx, "t", taffrail.ProducerOptions{})
	w.check(err)
	_, err = producer.Append(w.ctx, records...)
	w.check(err)
	_, err = w.client.Append(w.ctx, "t", records)
	w.check(err)
	latest, err := w.client.GetLatest(w.ctx, "t", keys...)
	w.check(err)
	for _, each := range latest {
		equal(w, each.Version, 2)
	}
}

// expect fails the test unless the error is of this kind.
func expect(w *world, err, kind error) {
	w.Helper()
	if !errors.Is(err, kind) {
		w.Fatalf("the error is %v, not: %v", err, kind)
	}
}

func TestTimePassesWhereATestSaysSo(t *testing.T) {
	w := newWorld(t)
	w.create("t", 1)
	times := make([]time.Time, 2)
	for at := range times {
		appended, err := w.client.Append(w.ctx, "t", numbered(at))
		w.check(err)
		times[at] = appended.Ranges[0].AppendTime
		w.broker.Advance(time.Hour)
	}
	if passed := times[1].Sub(times[0]); passed < time.Hour {
		t.Fatal(passed)
	}
}

func TestWhatTheBrokerBoundsIsTold(t *testing.T) {
	w := newWorld(t)
	limits, err := w.client.Limits(w.ctx)
	w.check(err)
	equal(w, limits["record_bytes"], 8<<20)
	equal(w, limits["append_records"], 65_536)
}

func told(w *world, err error) *taffrail.Error {
	w.Helper()
	var told *taffrail.Error
	if !errors.As(err, &told) {
		w.Fatalf("no error of the broker: %v", err)
	}
	return told
}

func equal[T any](w *world, is, want T) {
	w.Helper()
	if fmt.Sprint(is) != fmt.Sprint(want) {
		w.Fatalf("is %v, not %v", is, want)
	}
}

func sorted(values []string) []string {
	slices.Sort(values)
	return values
}
