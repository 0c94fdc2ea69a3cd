package dev.taffrail;

import java.util.ArrayDeque;
import java.util.Iterator;
import java.util.List;
import java.util.NoSuchElementException;
import java.util.Queue;

/** Records one by one, of a read that has them batch by batch. It is to be closed. */
abstract sealed class StoredRecords implements Iterator<StoredRecord>, Iterable<StoredRecord>, AutoCloseable
    permits KeyReading, Reading {
  private final Queue<StoredRecord> records = new ArrayDeque<>();

  /** The next batch, which may be empty; null at the end. */
  abstract List<StoredRecord> receive();

  @Override
  public abstract void close();

  @Override
  public Iterator<StoredRecord> iterator() {
    return this;
  }

  /** Waits for the next record; false at the end, or when it is closed. */
  @Override
  public boolean hasNext() {
    while (records.isEmpty()) {
      List<StoredRecord> batch = receive();
      if (batch == null) {
        return false;
      }
      records.addAll(batch);
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
}
