package bench

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
)

// Run is the results that belong to one header.
type Run struct {
	Header  Header
	Records []Record
}

// ReadFile reads a file of results.
func ReadFile(name string) ([]Run, error) {
	content, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	runs, err := Read(bytes.NewReader(content))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return runs, nil
}

// Read reads what the writer of JSON lines printed, one run or several after
// another.
func Read(r io.Reader) ([]Run, error) {
	var runs []Run
	dec := json.NewDecoder(r)
	for line := 1; ; line++ {
		var both struct {
			Record
			Machine  *Machine       `json:"machine"`
			Settings map[string]any `json:"settings"`
		}
		switch err := dec.Decode(&both); {
		case errors.Is(err, io.EOF):
			return runs, nil
		case err != nil:
			return nil, fmt.Errorf("line %d of the results: %w", line, err)
		case both.Machine != nil:
			runs = append(runs, Run{Header: Header{*both.Machine, both.Settings}})
		case both.Name == "":
			return nil, fmt.Errorf("line %d of the results is neither machine nor record", line)
		case len(runs) == 0:
			return nil, fmt.Errorf("line %d of the results: the line with the machine is missing before it", line)
		default:
			last := &runs[len(runs)-1]
			last.Records = append(last.Records, both.Record)
		}
	}
}
