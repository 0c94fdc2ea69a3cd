package main

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"strconv"
	"time"

	taffrail "taffrail.dev/go"
)

type wireRecord struct {
	Key, Value  *string
	Type        string
	Headers     [][2]string
	TimestampMs *string `json:"timestamp_ms"`
	EventID     string  `json:"event_id"`
}

type wireCondition struct {
	Key            string
	Version        *string
	Absent, Exists bool
	Partition      *uint32
	NextOffset     string `json:"next_offset"`
}

func recordsOf(wire []wireRecord) []taffrail.Record {
	records := []taffrail.Record{}
	for _, each := range wire {
		record := taffrail.Record{Type: each.Type}
		if each.Key != nil {
			record.Key = octets(*each.Key)
		}
		if each.Value != nil {
			record.Value = octets(*each.Value)
		}
		if each.EventID != "" {
			record.EventID = octets(each.EventID)
		}
		for _, header := range each.Headers {
			record.Headers = append(record.Headers, taffrail.Header{Name: header[0], Value: octets(header[1])})
		}
		if each.TimestampMs != nil {
			milliseconds, _ := strconv.ParseInt(*each.TimestampMs, 10, 64)
			record.Time = time.UnixMilli(milliseconds)
		}
		records = append(records, record)
	}
	return records
}

func (c wireCondition) condition() taffrail.Condition {
	switch {
	case c.Partition != nil:
		return taffrail.NextOffset(*c.Partition, number(c.NextOffset))
	case c.Version != nil:
		return taffrail.KeyAtVersion(octets(c.Key), number(*c.Version))
	case c.Absent:
		return taffrail.KeyAbsent(octets(c.Key))
	}
	return taffrail.KeyExists(octets(c.Key))
}

func positionOf(wire json.RawMessage) taffrail.Position {
	var at struct {
		Offset *string
		TimeMs *string `json:"time_ms"`
	}
	if json.Unmarshal(wire, &at) == nil {
		if at.Offset != nil {
			return taffrail.At(number(*at.Offset))
		}
		if at.TimeMs != nil {
			milliseconds, _ := strconv.ParseInt(*at.TimeMs, 10, 64)
			return taffrail.Since(time.UnixMilli(milliseconds))
		}
	}
	if string(wire) == `"latest"` {
		return taffrail.Latest()
	}
	return taffrail.Earliest()
}

func stored(record taffrail.StoredRecord) object {
	headers := [][2]string{}
	for _, each := range record.Headers {
		headers = append(headers, [2]string{each.Name, hex.EncodeToString(each.Value)})
	}
	var version any
	if record.Version > 0 {
		version = digits(record.Version)
	}
	return object{
		"partition": record.Partition, "offset": digits(record.Offset), "key": optional(record.Key),
		"value": optional(record.Value), "type": record.Type, "headers": headers,
		"timestamp_ms": strconv.FormatInt(record.Time.UnixMilli(), 10), "event_id": hex.EncodeToString(record.EventID),
		"version": version, "erased": record.Erased,
	}
}

// described is an error as the kit names it.
func described(err error) object {
	if errors.Is(err, errUnsupported) {
		return object{"kind": "unsupported"}
	}
	kinds := []struct {
		err  error
		name string
	}{
		{taffrail.ErrConflict, "conflict"}, {taffrail.ErrFenced, "fenced"}, {taffrail.ErrNotFound, "not_found"},
		{taffrail.ErrAlreadyExists, "already_exists"}, {taffrail.ErrOffsetOutOfRange, "out_of_range"},
		{taffrail.ErrDamagedRecords, "damaged"}, {taffrail.ErrRefused, "refused"},
		{taffrail.ErrOutcomeUnknown, "outcome_unknown"}, {taffrail.ErrUnavailable, "unavailable"},
	}
	var told *taffrail.Error
	if !errors.As(err, &told) {
		return object{"kind": "bug", "message": err.Error()}
	}
	kind := "unknown"
	for _, each := range kinds {
		if errors.Is(err, each.err) {
			kind = each.name
			break
		}
	}
	failed := [][2]any{}
	for _, each := range told.Failed {
		failed = append(failed, [2]any{each.Index, digits(each.Actual)})
	}
	return object{
		"kind": kind, "reason": told.Reason, "message": told.Message, "metadata": told.Metadata, "failed": failed,
	}
}

func octetsOfAll(texts []string) [][]byte {
	var all [][]byte
	for _, each := range texts {
		all = append(all, octets(each))
	}
	return all
}

// octets is never nil: no digits are an empty value, and not the absence of one.
func octets(text string) []byte {
	decoded, _ := hex.DecodeString(text)
	return append([]byte{}, decoded...)
}

func optional(data []byte) any {
	if data == nil {
		return nil
	}
	return hex.EncodeToString(data)
}

func number(text string) uint64 {
	parsed, _ := strconv.ParseUint(text, 10, 64)
	return parsed
}
