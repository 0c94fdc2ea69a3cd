package taffrail

import (
	"math"
	"time"

	pb "taffrail.dev/go/taffrailv1"
)

// Record is a record to append.
type Record struct {
	// Key is what the record is about. Nil: nothing; else it is not empty.
	Key []byte
	// Value is the content. Nil: a tombstone, which says that the entity of this key has ended; []byte{} is an empty value.
	Value []byte
	// Type is the type of the event.
	Type string
	// Headers is application metadata, in order; names may repeat.
	Headers []Header
	// Time is when it happened, in milliseconds. Zero: when it is appended.
	Time time.Time
	// EventID is the caller's identity for this event: see AppendRequest.conditions in log.proto.
	EventID []byte
}

// Header is one piece of application metadata.
type Header struct {
	Name  string
	Value []byte
}

// StoredRecord is a record as it is stored.
type StoredRecord struct {
	Record
	Topic     string
	Partition uint32
	Offset    uint64
	// Version is its number among the records of its key, from 1; 0 without a key, or in a topic with keys=plain.
	Version uint64
	// AppendTime is when the broker took it.
	AppendTime time.Time
	// Erased: key, value, headers and event id are gone.
	Erased bool
	// Replayed: the group that this one was forked from has handled it: only the group's own state should be built from
	// it.
	Replayed bool
}

// Position is a place in a log.
type Position struct{ wire *pb.Position }

// Earliest is the first record that has not been trimmed, where the zero Position is too.
func Earliest() Position {
	return Position{&pb.Position{At: &pb.Position_Edge{Edge: pb.Edge_EDGE_EARLIEST}}}
}

// Latest is behind the last record.
func Latest() Position {
	return Position{&pb.Position{At: &pb.Position_Edge{Edge: pb.Edge_EDGE_LATEST}}}
}

// At is the record at this offset.
func At(offset uint64) Position {
	return Position{&pb.Position{At: &pb.Position_Offset{Offset: offset}}}
}

// Since is the first record at or after this time.
func Since(when time.Time) Position {
	return Position{&pb.Position{At: &pb.Position_TimestampMs{TimestampMs: when.UnixMilli()}}}
}

func (p Position) isEarliest() bool {
	edge, isEdge := p.wire.GetAt().(*pb.Position_Edge)
	return p.wire == nil || isEdge && edge.Edge == pb.Edge_EDGE_EARLIEST
}

// Condition is what must hold for an append to happen.
type Condition struct{ wire *pb.Condition }

// KeyAtVersion requires that the entity is at this version; 0: it never had a record.
func KeyAtVersion(key []byte, version uint64) Condition {
	return onKey(&pb.KeyCondition{Key: key, State: &pb.KeyCondition_Version{Version: version}})
}

// KeyAbsent requires that the entity never had a record.
func KeyAbsent(key []byte) Condition {
	return onKey(&pb.KeyCondition{Key: key, State: &pb.KeyCondition_Absent{Absent: true}})
}

// KeyExists requires that the entity has had a record.
func KeyExists(key []byte) Condition {
	return onKey(&pb.KeyCondition{Key: key, State: &pb.KeyCondition_Exists{Exists: true}})
}

// NextOffset requires that the partition's next record gets this offset.
func NextOffset(partition uint32, offset uint64) Condition {
	about := &pb.PartitionCondition{Partition: partition, NextOffset: offset}
	return Condition{&pb.Condition{About: &pb.Condition_Partition{Partition: about}}}
}

func onKey(about *pb.KeyCondition) Condition {
	return Condition{&pb.Condition{About: &pb.Condition_Key{Key: about}}}
}

// Of is the condition about another topic than the one that is appended to; in an append to several topics each condition
// needs it.
func (c Condition) Of(topic string) Condition {
	return Condition{&pb.Condition{Topic: topic, About: c.wire.GetAbout()}}
}

// Batch is records for one topic.
type Batch struct {
	Topic   string
	Records []Record
	// Partition is where all of them go. Nil: each to its key's.
	Partition *uint32
}

// Appended says where the records of one batch are.
type Appended struct {
	Topic string
	// Ranges are by partition. There are none if the batch was stored so long ago that the broker does not remember where.
	Ranges []Range
	// Duplicate: it had been stored before.
	Duplicate bool
}

// Range is records of one append that are in a row in one partition.
type Range struct {
	Partition   uint32
	FirstOffset uint64
	Count       uint32
	AppendTime  time.Time
	// Versions has the version of each record, if asked for; 0: it has none.
	Versions []uint64
}

// Offset is how far a group has come in a partition.
type Offset struct {
	Topic     string
	Partition uint32
	// Next is the offset of the next record to read.
	Next uint64
	// TopicID and Generation are what the partition was assigned with.
	TopicID    string
	Generation uint64
	// Metadata is kept with it.
	Metadata []byte
}

// GroupOffsets is offsets of a group to commit with the records of an append, so that both happen or neither.
type GroupOffsets struct {
	Group    string
	MemberID string
	Offsets  []Offset
}

func recordsToWire(records []Record) []*pb.Record {
	wire := make([]*pb.Record, len(records))
	for at, record := range records {
		each := &pb.Record{Key: record.Key, Value: record.Value, Type: record.Type, EventId: record.EventID}
		for _, header := range record.Headers {
			each.Headers = append(each.Headers, &pb.Header{Name: header.Name, Value: header.Value})
		}
		if !record.Time.IsZero() {
			milliseconds := record.Time.UnixMilli()
			each.TimestampMs = &milliseconds
		}
		wire[at] = each
	}
	return wire
}

func recordsFromWire(topic string, partition uint32, wire []*pb.Record, replayedBelow uint64) []StoredRecord {
	records := make([]StoredRecord, len(wire))
	for at, each := range wire {
		record := StoredRecord{
			Record: Record{
				Key: each.Key, Value: each.Value, Type: each.Type, EventID: each.EventId,
				Time: time.UnixMilli(each.GetTimestampMs()),
			},
			Topic: topic, Partition: partition, Offset: each.GetOffset(), Version: each.GetVersion(),
			AppendTime: time.UnixMilli(each.GetAppendTimeMs()), Erased: each.Erased != nil,
			Replayed: each.GetOffset() < replayedBelow,
		}
		for _, header := range each.Headers {
			record.Headers = append(record.Headers, Header{Name: header.Name, Value: header.Value})
		}
		records[at] = record
	}
	return records
}

func appendedFromWire(topic string, batches ...*pb.AppendedBatch) Appended {
	appended := Appended{Topic: topic}
	for _, batch := range batches {
		appended.Duplicate = appended.Duplicate || batch.Duplicate
		for _, each := range batch.Ranges {
			appended.Ranges = append(appended.Ranges, Range{
				Partition: each.Partition, FirstOffset: each.FirstOffset, Count: each.Count,
				AppendTime: time.UnixMilli(each.AppendTimeMs), Versions: each.Versions,
			})
		}
	}
	return appended
}

func offsetsToWire(offsets []Offset) []*pb.GroupOffset {
	wire := make([]*pb.GroupOffset, len(offsets))
	for at, each := range offsets {
		wire[at] = &pb.GroupOffset{
			Topic: each.Topic, Partition: each.Partition, NextOffset: each.Next, TopicId: each.TopicID,
			Generation: each.Generation, Metadata: each.Metadata,
		}
	}
	return wire
}

func offsetFromWire(wire *pb.GroupOffset) Offset {
	return Offset{
		Topic: wire.Topic, Partition: wire.Partition, Next: wire.NextOffset, TopicID: wire.TopicId,
		Generation: wire.Generation, Metadata: wire.Metadata,
	}
}

// partitionOfKey is the partition that the broker puts a key in, which is where Kafka's Java client does.
func partitionOfKey(key []byte, partitions uint32) uint32 {
	return murmur2(key) & math.MaxInt32 % partitions
}

// murmur2 is 32-bit murmur2 with Kafka's seed.
func murmur2(data []byte) uint32 {
	const multiplier = 0x5bd1e995
	hash := 0x9747b28c ^ uint32(len(data))
	for ; len(data) >= 4; data = data[4:] {
		word := uint32(data[0]) | uint32(data[1])<<8 | uint32(data[2])<<16 | uint32(data[3])<<24
		word *= multiplier
		word ^= word >> 24
		hash = hash*multiplier ^ word*multiplier
	}
	for at, each := range data {
		hash ^= uint32(each) << (8 * at)
	}
	if len(data) > 0 {
		hash *= multiplier
	}
	hash ^= hash >> 13
	hash *= multiplier
	return hash ^ hash>>15
}
