package control

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Encoding is the form of a record.
type Encoding uint8

// The encodings.
const (
	EncodingText Encoding = iota // as conntrack-tools prints it
	EncodingProc                 // as /proc/net/nf_conntrack shows it
	EncodingJSON                 // one object a line: docs/json.md
)

// Format says how records are printed. The zero value is plain text.
type Format struct {
	Encoding  Encoding
	Extended  bool // text: the name and number of the network protocol first
	ID        bool // text: id= last
	Timestamp bool // events: when it happened; flows: [start=...] and delta-time=
}

// Record is a kind of record that can be printed.
type Record uint8

// The kinds of records.
const (
	RecordFlow Record = iota
	RecordExpectation
	RecordFlowEvent
	RecordExpectationEvent
)

// words lists what may stand in a format list for records of kind r.
func (r Record) words() []string {
	switch r {
	case RecordFlow:
		return []string{"text", "extended", "id", "timestamp", "ktimestamp", "json", "proc"}
	case RecordExpectation:
		return []string{"text", "extended", "id", "json", "proc"}
	default: // events
		return []string{"text", "extended", "id", "timestamp", "json"}
	}
}

// ParseFormat reads a comma-separated list such as "extended,id" for records of
// kind r. An empty list is plain text.
func ParseFormat(list string, r Record) (Format, error) {
	var f Format
	if list == "" {
		return f, nil
	}
	words := r.words()
	for word := range strings.SplitSeq(list, ",") {
		if !slices.Contains(words, word) {
			return Format{}, fmt.Errorf("output %q is not known: use a list of %s", word, strings.Join(words, ","))
		}
		switch word {
		case "extended":
			f.Extended = true
		case "id":
			f.ID = true
		case "timestamp", "ktimestamp":
			f.Timestamp = true
		case "json", "proc":
			e := EncodingJSON
			if word == "proc" {
				e = EncodingProc
			}
			if f.Encoding != EncodingText && f.Encoding != e {
				return Format{}, errors.New("outputs json and proc exclude each other: give one of them")
			}
			f.Encoding = e
		}
	}
	return f, nil
}
