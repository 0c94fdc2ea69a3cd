package taffrail

import (
	"fmt"
	"testing"

	"google.golang.org/protobuf/proto"

	pb "taffrail.dev/go/taffrailv1"
)

// session is a member that has a partition, and the stream of its messages.
type session struct {
	*testing.T
	*Member
}

var (
	place      = TopicPartition{"t", 0}
	partitions = &pb.Partitions{Partitions: []*pb.GroupPartition{{Topic: "t", TopicId: "id"}}}
)

func newSession(t *testing.T) *session {
	s := &session{t, &Member{
		join: &pb.JoinGroup{}, retries: newRetries(-1), assigned: map[TopicPartition]Assigned{},
		paused: map[TopicPartition]bool{}, handled: map[TopicPartition]Offset{},
	}}
	s.reopen()
	return s
}

// reopen opens another stream, on which the partition is assigned.
func (s *session) reopen() {
	s.stream = &memberStream{up: newMailbox[*pb.ConsumeRequest](), down: newMailbox[arrival](), cancel: func() {}}
	s.begin()
	s.assignAnew(1)
}

func (s *session) assignAnew(generation uint64) {
	assigned := &pb.AssignedPartition{Topic: "t", TopicId: "id", Generation: generation}
	s.assign([]*pb.AssignedPartition{assigned})
}

func (s *session) records(generation uint64, offsets ...uint64) {
	next := &pb.GroupOffset{Topic: "t", TopicId: "id", Generation: generation, NextOffset: offsets[len(offsets)-1] + 1}
	records := &pb.Records{Next: next, Cost: &pb.Credit{Records: uint64(len(offsets)), Bytes: 1}}
	for _, offset := range offsets {
		records.Records = append(records.Records, &pb.Record{Offset: proto.Uint64(offset)})
	}
	s.enqueue(records)
}

// give fails the test unless the next record is the one at this offset, or there is none, for -1.
func (s *session) give(offset int) {
	s.Helper()
	s.noteHandled()
	record, isThere := s.nextRecord()
	if isThere != (offset >= 0) || isThere && record.Offset != uint64(offset) {
		s.Fatalf("the record is %v, %d", isThere, record.Offset)
	}
}

// said fails the test unless the member has said this since it was looked at.
func (s *session) said(want ...string) {
	s.Helper()
	var said []string
	for request, isThere := s.stream.up.poll(); isThere; request, isThere = s.stream.up.poll() {
		switch message := request.Message.(type) {
		case *pb.ConsumeRequest_Credit:
			said = append(said, fmt.Sprint("credit ", message.Credit.Records))
		case *pb.ConsumeRequest_Commit:
			offset := message.Commit.Offsets[0]
			said = append(said, fmt.Sprintf("commit %d in %d", offset.NextOffset, offset.Generation))
		case *pb.ConsumeRequest_Drained:
			said = append(said, fmt.Sprint("drained ", len(message.Drained.Partitions)))
		case *pb.ConsumeRequest_Pause:
			said = append(said, fmt.Sprint("pause ", len(message.Pause.Partitions)))
		}
	}
	if fmt.Sprint(said) != fmt.Sprint(want) {
		s.Fatalf("the member has said %v, not %v", said, want)
	}
}

func TestWhatWasHandledIsCommittedBeforeAPartitionIsHandedOver(t *testing.T) {
	s := newSession(t)
	s.records(1, 0, 1, 2)
	s.give(0)
	s.give(1)
	s.noteHandled()
	s.revoke(&pb.Revoked{Partitions: partitions, DrainMs: 1000})
	s.said("credit 3", "commit 2 in 1", "drained 1")
	s.give(-1)
	s.records(1, 3)
	s.revoke(&pb.Revoked{Partitions: partitions})
	s.said("credit 1")
}

func TestWhatABrokenStreamHadIsNotGivenAndNotCommittedOnTheNextOne(t *testing.T) {
	s := newSession(t)
	s.records(1, 0, 1)
	s.records(1, 2)
	s.give(0)
	s.give(1)
	s.commitHandled()
	if err := s.take(arrival{err: fmt.Errorf("broken")}); err != nil {
		t.Fatal(err)
	}
	s.reopen()
	s.give(-1)
	s.records(1, 0)
	s.give(0)
	s.noteHandled()
	s.commitHandled()
	s.said("credit 1", "commit 1 in 1")
	// The commit that was not answered on the broken stream never is.
	s.understand(&pb.ConsumeResponse{Message: &pb.ConsumeResponse_Committed{Committed: &pb.Committed{}}})
	if len(s.unanswered) != 0 {
		t.Fatal("a commit is still to be answered")
	}
}

func TestWhatWasReadBeforeAPartitionIsAssignedAnewIsNotCommitted(t *testing.T) {
	s := newSession(t)
	s.records(1, 5, 6)
	s.give(5)
	s.assignAnew(2)
	s.noteHandled()
	s.commitHandled()
	s.said("credit 2")
	s.records(2, 0)
	s.give(0)
	s.give(-1)
	s.commitHandled()
	s.said("credit 1", "commit 1 in 2")
}

func TestAPausedPartitionIsPausedAgainWhereItIsAssignedAnew(t *testing.T) {
	s := newSession(t)
	s.Pause(place)
	s.said("pause 1")
	if err := s.take(arrival{err: fmt.Errorf("broken")}); err != nil {
		t.Fatal(err)
	}
	s.reopen()
	s.said("pause 1")
	s.revoke(&pb.Revoked{Partitions: partitions, DrainMs: 1000})
	s.assignAnew(2)
	s.said("drained 1")
}
