package taffrail_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"testing"
	"time"

	taffrail "taffrail.dev/go"
	pb "taffrail.dev/go/taffrailv1"
)

var first = taffrail.TopicPartition{Topic: "t"}

func TestWhatWasHandledIsCommittedAndNothingElse(t *testing.T) {
	w := newWorld(t)
	w.create("t", 1)
	w.append("t", 0, 1, 2, 3)
	member := w.join(w.client, taffrail.JoinOptions{})
	equal(w, []string{w.nextOf(member), w.nextOf(member)}, []string{"0", "1"})
	w.check(member.Leave(w.ctx))
	_, err := member.Next(w.ctx)
	expect(w, err, taffrail.ErrUnavailable)
	equal(w, w.committed()[first], 2)
	member = w.join(w.client, taffrail.JoinOptions{})
	equal(w, []string{w.nextOf(member), w.nextOf(member)}, []string{"2", "3"})
	// The last one is not handled.
	w.check(member.Close())
	equal(w, w.committed()[first], 3)
	w.check(w.client.DeleteGroup(w.ctx, "g"))
	_, err = w.client.Committed(w.ctx, "g")
	expect(w, err, taffrail.ErrNotFound)
}

func TestAMemberCommitsByItselfWhenThereIsNothingElseToDo(t *testing.T) {
	w := newWorld(t)
	w.create("t", 1)
	w.append("t", 0, 1)
	member := w.join(w.client, taffrail.JoinOptions{})
	w.nextOf(member)
	w.nextOf(member)
	waiting := nextBeside(w, member)
	w.until(func() bool { return w.committed()[first] == 2 })
	w.append("t", 2)
	equal(w, waiting(), "2")
}

func TestAMemberThatCommitsExplicitlyIsToldWhatCameOfIt(t *testing.T) {
	w := newWorld(t)
	w.create("t", 1)
	w.append("t", 0, 1, 2)
	member := w.join(w.client, taffrail.JoinOptions{CommitExplicitly: true})
	batch, err := member.NextBatch(w.ctx)
	w.check(err)
	equal(w, len(batch.Records), 3)
	commit := func(offsets ...taffrail.Offset) []taffrail.CommitOutcome {
		outcomes, err := member.Commit(w.ctx, offsets...)
		w.check(err)
		return outcomes
	}
	equal(w, commit(), []taffrail.CommitOutcome{taffrail.CommitDone})
	equal(w, commit(), nil)
	equal(w, commit(batch.Next), []taffrail.CommitOutcome{taffrail.CommitUnchanged})
	beyond, stale := batch.Next, batch.Next
	beyond.Next = 9
	stale.Generation++
	equal(w, commit(beyond), []taffrail.CommitOutcome{taffrail.CommitBeyondEnd})
	equal(w, commit(stale), []taffrail.CommitOutcome{taffrail.CommitFenced})
	unencodable := batch.Next
	unencodable.Topic = "\xff"
	_, err = member.Commit(w.ctx, unencodable)
	expect(w, err, taffrail.ErrRefused)
	equal(w, commit(batch.Next), []taffrail.CommitOutcome{taffrail.CommitUnchanged})
	w.append("t", 3)
	equal(w, w.nextOf(member), "3")
	w.check(member.Leave(w.ctx))
	equal(w, w.committed()[first], 3)
}

func TestCreditIsGivenBackForWhatWasHandled(t *testing.T) {
	w := newWorld(t)
	w.create("t", 2)
	var want []string
	for number := range 10 {
		w.appendTo("t", uint32(number%2), number)
		want = append(want, strconv.Itoa(number))
	}
	member := w.join(w.client, taffrail.JoinOptions{CreditRecords: 1})
	var values []string
	for range 10 {
		values = append(values, w.nextOf(member))
	}
	equal(w, sorted(values), want)
}

func TestAPartitionIsHandedOverBehindWhatWasHandled(t *testing.T) {
	w := newWorld(t)
	w.create("t", 4)
	for number := range 40 {
		w.appendTo("t", uint32(number%4), number)
	}
	gone := make(chan []taffrail.TopicPartition, 1)
	old := w.join(w.client, taffrail.JoinOptions{OnRevoked: func(partitions []taffrail.TopicPartition, areLost bool) {
		if !areLost {
			gone <- partitions
		}
	}})
	for range 40 {
		w.nextOf(old)
	}
	following := nextBeside(w, old)
	began := make(chan []taffrail.Assigned, 1)
	new := w.join(w.client, taffrail.JoinOptions{OnAssigned: func(assigned []taffrail.Assigned) { began <- assigned }})
	going := nextBeside(w, new)
	// The newcomer gets two of the four, behind all that the first one had handled.
	assigned, revoked := <-began, <-gone
	for len(assigned) < 2 {
		assigned = append(assigned, <-began...)
	}
	for len(revoked) < 2 {
		revoked = append(revoked, <-gone...)
	}
	for _, each := range assigned {
		equal(w, each.NextOffset, 10)
		equal(w, slices.Contains(revoked, each.TopicPartition), true)
	}
	equal(w, len(assigned), 2)
	moved := assigned[0].Partition
	stayed := uint32(slices.IndexFunc([]uint32{0, 1, 2, 3}, func(partition uint32) bool {
		return !slices.Contains(revoked, taffrail.TopicPartition{Topic: "t", Partition: partition})
	}))
	w.appendTo("t", moved, 100)
	w.appendTo("t", stayed, 101)
	equal(w, going(), "100")
	equal(w, following(), "101")
}

func TestAMemberIsHeardWhileItsProgramIsBusy(t *testing.T) {
	w := newWorld(t)
	w.create("t", 1)
	w.join(w.client, taffrail.JoinOptions{SessionTimeout: 3 * time.Second})
	heard := map[int64]bool{}
	w.until(func() bool {
		request := &pb.DescribeGroupRequest{Group: "g"}
		described, err := pb.NewGroupsClient(w.client.Conn()).Describe(w.ctx, request)
		w.check(err)
		equal(w, described.Members[0].Connected, true)
		heard[described.Members[0].LastHeardMs] = true
		return len(heard) == 4
	})
}

func TestAFencedMemberSaysSoOnEveryCall(t *testing.T) {
	w := newWorld(t)
	w.create("t", 1)
	old := w.join(w.client, taffrail.JoinOptions{Name: "m"})
	new := w.join(w.client, taffrail.JoinOptions{Name: "m"})
	w.append("t", 0)
	for range 2 {
		_, err := old.Next(w.ctx)
		expect(w, err, taffrail.ErrFenced)
	}
	_, err := old.Commit(w.ctx)
	expect(w, err, taffrail.ErrFenced)
	equal(w, w.nextOf(new), "0")
}

// TestMain is the member that is killed, where the test below has started it.
func TestMain(m *testing.M) {
	address := os.Getenv("KILLED_MEMBER_OF")
	if address == "" {
		os.Exit(m.Run())
	}
	fmt.Println(runUntilKilled(address))
	os.Exit(1)
}

func runUntilKilled(address string) error {
	client, err := taffrail.New(address)
	if err != nil {
		return err
	}
	options := taffrail.JoinOptions{Topics: []string{"t"}, SessionTimeout: time.Second}
	member, err := client.Join(context.Background(), "g", options)
	for err == nil {
		var record taffrail.StoredRecord
		if record, err = member.Next(context.Background()); err == nil {
			fmt.Println(record.Offset)
		}
	}
	return err
}

func TestThePartitionsOfAKilledMemberMove(t *testing.T) {
	w := newWorld(t)
	w.create("t", 4)
	for partition := range uint32(4) {
		w.appendTo("t", partition, 0)
	}
	killed := exec.Command(os.Args[0])
	killed.Env = append(os.Environ(), "KILLED_MEMBER_OF="+w.broker.Address)
	output, err := killed.StdoutPipe()
	w.check(err)
	w.check(killed.Start())
	lines := bufio.NewScanner(output)
	for range 4 {
		equal(w, lines.Scan(), true)
		equal(w, lines.Text(), "0")
	}
	w.check(killed.Process.Kill())
	_ = killed.Wait()
	member := w.join(w.client, taffrail.JoinOptions{})
	missing := map[string]bool{}
	for partition := range uint32(4) {
		w.appendTo("t", partition, 10+int(partition))
		missing[strconv.Itoa(10+int(partition))] = true
	}
	for len(missing) > 0 {
		delete(missing, w.nextOf(member))
	}
	equal(w, len(member.Partitions()), 4)
}

func TestAMemberGoesOnAfterKill9AndARestart(t *testing.T) {
	w := newWorldOnDisk(t)
	w.create("t", 1)
	w.append("t", 0)
	lost := 0
	member := w.join(w.client, taffrail.JoinOptions{OnRevoked: func(_ []taffrail.TopicPartition, areLost bool) {
		if areLost {
			lost++
		}
	}})
	equal(w, w.nextOf(member), "0")
	id := member.ID()
	for number := 1; number < 4; number++ {
		_, err := member.Commit(w.ctx)
		w.check(err)
		w.broker.Kill()
		following := nextBeside(w, member)
		w.broker.Start()
		w.append("t", number)
		equal(w, following(), strconv.Itoa(number))
	}
	equal(w, member.ID(), id)
	equal(w, lost, 3)
	w.check(member.Leave(w.ctx))
	equal(w, w.committed()[first], 4)
}

func TestWhatWasNotCommittedWhenTheConnectionBrokeComesAgain(t *testing.T) {
	w := newWorld(t)
	w.create("t", 1)
	w.append("t", 0, 1, 2)
	proxy := w.proxy()
	member := w.join(w.connect(proxy.address), taffrail.JoinOptions{CommitExplicitly: true})
	equal(w, w.nextOf(member), "0")
	_, err := member.Commit(w.ctx)
	w.check(err)
	equal(w, []string{w.nextOf(member), w.nextOf(member)}, []string{"1", "2"})
	proxy.cut()
	equal(w, []string{w.nextOf(member), w.nextOf(member)}, []string{"1", "2"})
	proxy.holdAnswers()
	committing := beside(w, func() error {
		_, err := member.Commit(w.ctx)
		return err
	})
	w.until(func() bool { return w.committed()[first] == 3 })
	proxy.cut()
	expect(w, committing(), taffrail.ErrOutcomeUnknown)
}

func TestAMemberThatLeavesSaysThatItDoesNotKnowWhatIsCommitted(t *testing.T) {
	w := newWorld(t)
	w.create("t", 1)
	w.append("t", 0)
	proxy := w.proxy()
	member := w.join(w.connect(proxy.address), taffrail.JoinOptions{})
	w.nextOf(member)
	proxy.holdAnswers()
	leaving := beside(w, func() error { return member.Leave(w.ctx) })
	w.until(func() bool { return w.committed()[first] == 1 })
	proxy.cut()
	expect(w, leaving(), taffrail.ErrOutcomeUnknown)
}

func TestAMemberWhoseBrokerIsAwayForTooLongSaysSoAndCanGoOn(t *testing.T) {
	w := newWorldOnDisk(t)
	w.create("t", 1)
	w.append("t", 0)
	member := w.join(w.client, taffrail.JoinOptions{GiveUpAfter: time.Nanosecond})
	w.nextOf(member)
	w.broker.Kill()
	for range 2 {
		_, err := member.Next(w.ctx)
		expect(w, err, taffrail.ErrUnavailable)
	}
	w.broker.Start()
	w.append("t", 1)
	w.until(func() bool {
		record, err := member.Next(w.ctx)
		if err != nil {
			expect(w, err, taffrail.ErrUnavailable)
		}
		return string(record.Value) == "1"
	})
}

func TestAPausedPartitionGivesNothingUntilItIsResumedAlsoAfterABreak(t *testing.T) {
	w := newWorld(t)
	w.create("t", 2)
	w.appendTo("t", 0, 0)
	w.appendTo("t", 1, 1)
	proxy := w.proxy()
	member := w.join(w.connect(proxy.address), taffrail.JoinOptions{})
	w.nextOf(member)
	w.nextOf(member)
	member.Pause(first)
	for number := 2; number < 6; number++ {
		w.appendTo("t", 0, -number)
		w.appendTo("t", 1, number)
		if number == 4 {
			_, err := member.Commit(w.ctx)
			w.check(err)
			proxy.cut()
		}
		for {
			record, err := member.Next(w.ctx)
			w.check(err)
			// After the break what was not committed comes again, but nothing of the paused one.
			equal(w, record.Partition, 1)
			if string(record.Value) == strconv.Itoa(number) {
				break
			}
		}
	}
	member.Resume(first)
	missing := map[string]bool{"-2": true, "-3": true, "-4": true, "-5": true}
	for len(missing) > 0 {
		delete(missing, w.nextOf(member))
	}
}

func TestOffsetsAreCommittedWithAnAppendOrNeitherIs(t *testing.T) {
	w := newWorld(t)
	w.create("t", 1)
	w.create("out", 1)
	w.append("t", 0, 1)
	member := w.join(w.client, taffrail.JoinOptions{CommitExplicitly: true})
	batch, err := member.NextBatch(w.ctx)
	w.check(err)
	commit := func(number int, offset taffrail.Offset) error {
		_, err := w.client.AppendBatches(w.ctx, taffrail.Append{
			Batches:      []taffrail.Batch{{Topic: "out", Records: numbered(number)}},
			GroupOffsets: []taffrail.GroupOffsets{member.GroupOffsets(offset)},
		})
		return err
	}
	w.check(commit(5, batch.Next))
	equal(w, w.committed()[first], 2)
	stale := batch.Next
	stale.Generation++
	expect(w, commit(6, stale), taffrail.ErrFenced)
	equal(w, w.read("out"), []string{"5"})
}

func TestAForkThatReplaysIsToldWhatTheOtherGroupHasHandled(t *testing.T) {
	w := newWorld(t)
	w.create("t", 1)
	w.append("t", 0, 1, 2)
	member := w.join(w.client, taffrail.JoinOptions{})
	w.nextOf(member)
	w.nextOf(member)
	w.check(member.Leave(w.ctx))
	w.check(w.client.ForkGroup(w.ctx, "g", "replaying", true))
	replaying, err := w.client.Join(w.ctx, "replaying", taffrail.JoinOptions{Topics: []string{"t"}})
	w.check(err)
	defer replaying.Close()
	for _, isReplayed := range []bool{true, true, false} {
		record, err := replaying.Next(w.ctx)
		w.check(err)
		equal(w, record.Replayed, isReplayed)
	}
	w.check(w.client.ForkGroup(w.ctx, "g", "going-on", false))
	committed, err := w.client.Committed(w.ctx, "going-on")
	w.check(err)
	equal(w, committed[first], 2)
	expect(w, w.client.ForkGroup(w.ctx, "g", "going-on", false), taffrail.ErrAlreadyExists)
}

func TestAPartitionThatCannotBeReadOnIsToldAndTheOthersAreRead(t *testing.T) {
	w := newWorld(t)
	w.create("t", 2)
	w.appendTo("t", 0, 0)
	w.appendTo("t", 1, 1)
	member := w.join(w.client, taffrail.JoinOptions{})
	w.nextOf(member)
	w.nextOf(member)
	w.check(member.Leave(w.ctx))
	w.appendTo("t", 0, 2, 3)
	_, err := pb.NewTopicsClient(w.client.Conn()).Trim(w.ctx, &pb.TrimRequest{Topic: "t", BeforeOffset: 3})
	w.check(err)
	w.appendTo("t", 1, 4)
	var failed []taffrail.Failed
	member = w.join(w.client, taffrail.JoinOptions{OnFailed: func(one taffrail.Failed) { failed = append(failed, one) }})
	equal(w, w.nextOf(member), "4")
	w.appendTo("t", 1, 5)
	equal(w, w.nextOf(member), "5")
	equal(w, len(failed), 1)
	equal(w, failed[0].TopicPartition, first)
	equal(w, failed[0].Reason, "OFFSET_OUT_OF_RANGE")
	equal(w, failed[0].Earliest, 3)
}

func TestTheCommittedOffsetsOfManyPartitionsAreTold(t *testing.T) {
	w := newWorld(t)
	w.create("t", 1_001)
	request := &pb.CommitRequest{Group: "g"}
	for partition := range uint32(1_001) {
		request.Offsets = append(request.Offsets, &pb.GroupOffset{Topic: "t", Partition: partition})
	}
	_, err := pb.NewGroupsClient(w.client.Conn()).Commit(w.ctx, request)
	w.check(err)
	equal(w, len(w.committed()), 1_001)
}

// nextBeside waits for the next record in another goroutine.
func nextBeside(w *world, member *taffrail.Member) func() string {
	return beside(w, func() string {
		record, err := member.Next(w.ctx)
		return string(record.Value) + errorText(err)
	})
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
