package dev.taffrail;

import com.google.protobuf.ByteString;
import dev.taffrail.v1.Record;
import java.util.List;

/**
 * A record as it is stored.
 *
 * @param record what was appended, with the broker's fields
 * @param isReplayed the group that this one was forked from has handled it: only the group's own state should be built from
 *     it
 */
public record StoredRecord(String topic, int partition, Record record, boolean isReplayed) {
  static List<StoredRecord> of(String topic, int partition, List<Record> records, long replayedBelow) {
    return records.stream()
        .map(each -> new StoredRecord(topic, partition, each, Long.compareUnsigned(each.getOffset(), replayedBelow) < 0))
        .toList();
  }

  public long offset() {
    return record.getOffset();
  }

  /** What the record is about; empty for nothing. */
  public ByteString key() {
    return record.getKey();
  }

  /** The content; empty in a tombstone, too, of which {@code record().hasValue()} is false. */
  public ByteString value() {
    return record.getValue();
  }

  /** Its number among the records of its key, from 1; 0 without a key, or in a topic with keys=plain. */
  public long version() {
    return record.getVersion();
  }

  /** Key, value, headers and event id are gone. */
  public boolean isErased() {
    return record.hasErased();
  }
}
