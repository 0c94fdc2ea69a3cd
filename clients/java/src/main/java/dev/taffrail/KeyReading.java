package dev.taffrail;

import dev.taffrail.v1.ReadKeyRequest;
import dev.taffrail.v1.ReadKeyResponse;
import io.grpc.Context;
import java.util.ArrayDeque;
import java.util.Iterator;
import java.util.NoSuchElementException;
import java.util.Queue;

/** The records of one entity, in the order of the read. It is to be closed. */
public final class KeyReading implements Iterator<StoredRecord>, Iterable<StoredRecord>, AutoCloseable {
  private final Calls calls;
  private final String topic;
  private final Context.CancellableContext context = Context.current().withCancellation();
  private final Iterator<ReadKeyResponse> responses;
  private final Queue<StoredRecord> records = new ArrayDeque<>();
  private final ReadKeyResponse first;

  KeyReading(Calls calls, ReadKeyRequest request) {
    this.calls = calls;
    topic = request.getTopic();
    ReadKeyRequest.Builder asked = request.toBuilder();
    if (request.getMaxResponseBytes() == 0) {
      asked.setMaxResponseBytes(Client.MAX_RESPONSE_BYTES);
    }
    responses = calls.read(Calls.READ_KEY, asked.build(), context);
    // It comes also if there are no records.
    first = receive();
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
  public Iterator<StoredRecord> iterator() {
    return this;
  }

  @Override
  public boolean hasNext() {
    while (records.isEmpty()) {
      if (receive() == null) {
        return false;
      }
    }
    return true;
  }

  @Override
  public StoredRecord next() {
    if (!hasNext()) {
      throw new NoSuchElementException();
    }
    return records.remove();
  }

  @Override
  public void close() {
    context.cancel(null);
  }

  private ReadKeyResponse receive() {
    try {
      if (!responses.hasNext()) {
        close();
        return null;
      }
      ReadKeyResponse response = responses.next();
      records.addAll(StoredRecord.of(topic, response.getPartition(), response.getRecordsList(), 0));
      return response;
    } catch (RuntimeException error) {
      close();
      throw calls.failure(error, false);
    }
  }
}
