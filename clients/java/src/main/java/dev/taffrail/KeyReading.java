package dev.taffrail;

import dev.taffrail.v1.ReadKeyRequest;
import dev.taffrail.v1.ReadKeyResponse;
import io.grpc.Context;
import java.util.Iterator;
import java.util.List;

/** The records of one entity, in the order of the read. It is to be closed. */
public final class KeyReading extends StoredRecords {
  private final Calls calls;
  private final String topic;
  private final Context.CancellableContext context = Context.current().withCancellation();
  private final Iterator<ReadKeyResponse> responses;
  private final ReadKeyResponse first;
  /** It has not been given yet. */
  private boolean isFirst = true;

  KeyReading(Calls calls, ReadKeyRequest request) {
    this.calls = calls;
    topic = request.getTopic();
    ReadKeyRequest.Builder asked = request.toBuilder();
    if (request.getMaxResponseBytes() == 0) {
      asked.setMaxResponseBytes(Client.MAX_RESPONSE_BYTES);
    }
    responses = calls.read(Calls.READ_KEY, asked.build(), context);
    // It comes also if there are no records.
    first = response();
  }

  /** The entity's version when the read began; 0: it never had a record. */
  public long latestVersion() {
    return first.getLatestVersion();
  }

  /** The partition that the entity is in. */
  public int partition() {
    return first.getPartition();
  }

  @Override
  List<StoredRecord> receive() {
    ReadKeyResponse response = isFirst ? first : response();
    isFirst = false;
    if (response == null) {
      return null;
    }
    return StoredRecord.of(topic, response.getPartition(), response.getRecordsList(), 0);
  }

  @Override
  public void close() {
    context.cancel(null);
  }

  private ReadKeyResponse response() {
    try {
      if (responses.hasNext()) {
        return responses.next();
      }
      close();
      return null;
    } catch (RuntimeException error) {
      close();
      throw calls.failure(error, false);
    }
  }
}
