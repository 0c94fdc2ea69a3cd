package dev.taffrail;

import com.google.protobuf.ByteString;
import dev.taffrail.v1.Condition;
import dev.taffrail.v1.Edge;
import dev.taffrail.v1.KeyCondition;
import dev.taffrail.v1.PartitionCondition;
import dev.taffrail.v1.Position;
import dev.taffrail.v1.Record;
import java.time.Instant;

/** Short ways to messages that are often made. */
public final class Wire {
  private Wire() {}

  /** A record to append, about this key. For one without a key, headers and the like: {@code Record.newBuilder()}. */
  public static Record record(String key, String value) {
    return record(ByteString.copyFromUtf8(key), ByteString.copyFromUtf8(value));
  }

  public static Record record(ByteString key, ByteString value) {
    return Record.newBuilder().setKey(key).setValue(value).build();
  }

  /** The first record that has not been trimmed. */
  public static Position earliest() {
    return Position.newBuilder().setEdge(Edge.EDGE_EARLIEST).build();
  }

  /** Behind the last record. */
  public static Position latest() {
    return Position.newBuilder().setEdge(Edge.EDGE_LATEST).build();
  }

  public static Position at(long offset) {
    return Position.newBuilder().setOffset(offset).build();
  }

  /** The first record at or after this time. */
  public static Position since(Instant time) {
    return Position.newBuilder().setTimestampMs(time.toEpochMilli()).build();
  }

  /** The entity never had a record. */
  public static Condition absent(String topic, ByteString key) {
    return about(topic, KeyCondition.newBuilder().setKey(key).setAbsent(true));
  }

  /** The entity has had a record. */
  public static Condition exists(String topic, ByteString key) {
    return about(topic, KeyCondition.newBuilder().setKey(key).setExists(true));
  }

  /** The entity has this version; 0: it never had a record. */
  public static Condition atVersion(String topic, ByteString key, long version) {
    return about(topic, KeyCondition.newBuilder().setKey(key).setVersion(version));
  }

  /** The partition's next record gets this offset. */
  public static Condition nextOffset(String topic, int partition, long offset) {
    PartitionCondition about = PartitionCondition.newBuilder().setPartition(partition).setNextOffset(offset).build();
    return Condition.newBuilder().setTopic(topic).setPartition(about).build();
  }

  private static Condition about(String topic, KeyCondition.Builder about) {
    return Condition.newBuilder().setTopic(topic).setKey(about).build();
  }

  /** The partition that the broker puts a key in, which is where Kafka's Java client does. */
  static int partitionOf(ByteString key, int partitions) {
    return (murmur2(key) & 0x7fffffff) % partitions;
  }

  /** 32-bit murmur2 with Kafka's seed. */
  static int murmur2(ByteString data) {
    int multiplier = 0x5bd1e995;
    int whole = data.size() & ~3;
    int hash = 0x9747b28c ^ data.size();
    for (int at = 0; at < whole; at += 4) {
      int word = 0;
      for (int each = 3; each >= 0; each--) {
        word = word << 8 | data.byteAt(at + each) & 0xff;
      }
      word *= multiplier;
      word ^= word >>> 24;
      hash = hash * multiplier ^ word * multiplier;
    }
    for (int at = whole; at < data.size(); at++) {
      hash ^= (data.byteAt(at) & 0xff) << 8 * (at - whole);
    }
    if (whole < data.size()) {
      hash *= multiplier;
    }
    hash ^= hash >>> 13;
    hash *= multiplier;
    return hash ^ hash >>> 15;
  }
}
