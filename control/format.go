package control

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Encoding is the form of a record.
type Encoding uint8

// The encodingNames.
const (
	EncodingText Encoding = iota // as conntrack-tools prints it
	EncodingProc                 // as /proc/net/nf_conntrack shows it
	EncodingJSON                 // one object a line: docs/json.md
	EncodingXML                  // as conntrack -o xml prints it
	EncodingSave                 // as conntrack -o save prints it, for conntrack -R
)

// encodingNames names those that a list may choose. Immutable.
var encodingNames = map[string]Encoding{
	"json": EncodingJSON, "proc": EncodingProc, "xml": EncodingXML, "save": EncodingSave,
}

// Format says how records are printed. The zero value is plain text.
type Format struct {
	Encoding   Encoding
	Extended   bool // text: the name and number of the network protocol first
	ID         bool // text, XML: the id
	Timestamp  bool // events: when it happened
	KTimestamp bool // flows: [start=...], and [stop=...] of their end
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

// Words lists what may stand in a format list for records of kind r.
func (r Record) Words() []string {
	switch r {
	case RecordFlow:
		return []string{"text", "extended", "id", "timestamp", "ktimestamp", "xml", "save", "json", "proc"}
	case RecordExpectation:
		return []string{"text", "extended", "id", "timestamp", "xml", "json", "proc"}
	case RecordFlowEvent:
		return []string{"text", "extended", "id", "timestamp", "ktimestamp", "xml", "save", "json"}
	default: // of expectations
		return []string{"text", "extended", "id", "timestamp", "xml", "json"}
	}
}

// ParseFormat reads a comma-separated list such as "extended,id" for records of
// kind r. An empty list is plain text.
func ParseFormat(list string, r Record) (Format, error) {
	var f Format
	if list == "" {
		return f, nil
	}
	words := r.Words()
	for word := range strings.SplitSeq(list, ",") {
		if !slices.Contains(words, word) {
			return Format{}, fmt.Errorf("output %q is not known: use a list of %s", word, strings.Join(words, ","))
		}
		switch word {
		case "extended":
			f.Extended = true
		case "id":
			f.ID = true
		case "timestamp":
			f.Timestamp = true
		case "ktimestamp":
			f.KTimestamp = true
		case "json", "proc", "xml", "save":
			e := encodingNames[word]
			if f.Encoding != EncodingText && f.Encoding != e {
				return Format{}, errors.New("outputs xml, save, json and proc exclude each other: give one of them")
			}
			f.Encoding = e
		}
	}
	if f.Encoding == EncodingSave && f != (Format{Encoding: EncodingSave}) {
		return Format{}, errors.New("output save cannot be combined with others: give it alone")
	}
	return f, nil
}
