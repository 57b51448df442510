package bench

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
)

// Writer prints results in one form.
type Writer interface {
	// Begin prints what the machine is. It is called first, and again for
	// results of another run.
	Begin(Header) error
	// Write prints the records of one scenario.
	Write([]Record) error
	// Close prints what had to wait for the last record.
	Close() error
}

// Formats are the forms that NewWriter knows.
func Formats() []string { return []string{"text", "json", "csv", "markdown"} }

// NewWriter returns a writer of one of the Formats.
func NewWriter(w io.Writer, format string) (Writer, error) {
	switch format {
	case "text":
		return &textWriter{w: w}, nil
	case "json":
		return jsonWriter{json.NewEncoder(w)}, nil
	case "csv":
		return &csvWriter{w: w}, nil
	case "markdown":
		return &markdownWriter{w: w}, nil
	}
	return nil, fmt.Errorf("unknown form %q: one of %s", format, strings.Join(Formats(), ", "))
}

// formatNumber prints a value without exponent and without zeros at its end.
func formatNumber(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }

// readable prints a value with three digits, or all before the point.
func readable(v float64) string {
	switch a := math.Abs(v); {
	case a >= 100 || a == 0:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case a >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	case a >= 1:
		return strconv.FormatFloat(v, 'f', 2, 64)
	}
	return strconv.FormatFloat(v, 'g', 3, 64)
}

// facts are the lines of a header for people.
func (h *Header) facts() []string {
	m := &h.Machine
	cpu := fmt.Sprintf("%s, %d of %d cores, last-level cache %s, %d MiB memory", m.CPU, m.Usable, m.Cores, m.Cache, m.Memory>>20)
	if m.Virtual {
		cpu += ", virtual machine"
	}
	if m.Governor != "" {
		cpu += ", governor " + m.Governor
	}
	kernel := fmt.Sprintf("Linux %s, transparent huge pages %s, %d huge pages reserved", m.Kernel, m.HugePages, m.Reserved)
	program := fmt.Sprintf("xdpct %s, %s, GOAMD64 %s, profile-guided %v", m.Version, m.Go, m.GOAMD64, m.PGO)
	lines := []string{cpu, kernel, program}
	var list []string
	for _, k := range slices.Sorted(maps.Keys(m.Mitigations)) {
		list = append(list, k+": "+m.Mitigations[k])
	}
	if len(list) > 0 {
		lines = append(lines, "mitigations: "+strings.Join(list, "; "))
	}
	settings := Record{Params: h.Settings}
	return append(lines, "settings: "+settings.Label())
}

// jsonWriter prints an object a line. The forms are an API.
type jsonWriter struct{ enc *json.Encoder }

func (w jsonWriter) Begin(h Header) error { return w.enc.Encode(h) }

func (w jsonWriter) Write(records []Record) error {
	for i := range records {
		if err := w.enc.Encode(&records[i]); err != nil {
			return err
		}
	}
	return nil
}

func (w jsonWriter) Close() error { return nil }

// csvWriter prints a table with a column for each parameter of any record, so
// it waits for the last one.
type csvWriter struct {
	w       io.Writer
	records []Record
}

// Begin prints the machine as comments, which most readers of CSV can skip.
func (w *csvWriter) Begin(h Header) error {
	_, err := fmt.Fprintf(w.w, "# %s\n", strings.Join(h.facts(), "\n# "))
	return err
}

func (w *csvWriter) Write(records []Record) error {
	w.records = append(w.records, records...)
	return nil
}

func (w *csvWriter) Close() error {
	params := paramNames(w.records)
	out := csv.NewWriter(w.w)
	rows := [][]string{slices.Concat([]string{"name"}, params, []string{"unit", "median", "p10", "p90", "rounds"})}
	for i := range w.records {
		r := &w.records[i]
		row := []string{r.Name}
		for _, p := range params {
			row = append(row, param(r, p))
		}
		rows = append(rows, append(row, r.Unit, formatNumber(r.Median), formatNumber(r.P10), formatNumber(r.P90), strconv.Itoa(r.Rounds)))
	}
	return out.WriteAll(rows)
}

// paramNames returns the names of all parameters of the records, sorted.
func paramNames(records []Record) []string {
	names := make(map[string]bool)
	for i := range records {
		for k := range records[i].Params {
			names[k] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// param prints one parameter, "" when the record does not have it.
func param(r *Record, name string) string {
	v, ok := r.Params[name]
	if !ok {
		return ""
	}
	return formatParam(v)
}

// shape tells which records fit in one table: the same quantity with the same
// parameters.
func (r *Record) shape() string {
	return strings.Join(append(slices.Sorted(maps.Keys(r.Params)), r.Name, r.Unit), "\x00")
}

// tables sorts the records into tables, in the order of their first records.
func tables(records []Record) [][]Record {
	var list [][]Record
	at := make(map[string]int)
	for i := range records {
		shape := records[i].shape()
		if _, known := at[shape]; !known {
			at[shape] = len(list)
			list = append(list, nil)
		}
		list[at[shape]] = append(list[at[shape]], records[i])
	}
	return list
}

// cells returns a table of records that fit in one: a row of titles, then one
// for each record.
func cells(records []Record) [][]string {
	params := paramNames(records)
	rows := [][]string{slices.Concat(params, []string{records[0].Unit, "p10", "p90", "rounds"})}
	for i := range records {
		r := &records[i]
		var row []string
		for _, p := range params {
			row = append(row, param(r, p))
		}
		rows = append(rows, append(row, readable(r.Median), readable(r.P10), readable(r.P90), strconv.Itoa(r.Rounds)))
	}
	return rows
}

// markdownWriter prints a table for each scenario and unit.
type markdownWriter struct{ w io.Writer }

func (w *markdownWriter) Begin(h Header) error {
	_, err := fmt.Fprintf(w.w, "- %s\n", strings.Join(h.facts(), "\n- "))
	return err
}

func (w *markdownWriter) Write(records []Record) error {
	for _, group := range tables(records) {
		rows := cells(group)
		text := fmt.Sprintf("\n### %s, %s\n\n", group[0].Name, group[0].Unit)
		for i, row := range rows {
			text += "| " + strings.Join(row, " | ") + " |\n"
			if i == 0 {
				text += strings.Repeat("|---", len(row)) + "|\n"
			}
		}
		if _, err := io.WriteString(w.w, text); err != nil {
			return err
		}
	}
	return nil
}

func (w *markdownWriter) Close() error { return nil }

// textWriter prints tables for a terminal.
type textWriter struct{ w io.Writer }

func (w *textWriter) Begin(h Header) error {
	_, err := fmt.Fprintln(w.w, strings.Join(h.facts(), "\n"))
	return err
}

func (w *textWriter) Write(records []Record) error {
	for _, group := range tables(records) {
		if _, err := fmt.Fprintf(w.w, "\n%s\n", group[0].Name); err != nil {
			return err
		}
		tw := tabwriter.NewWriter(w.w, 0, 0, 2, ' ', tabwriter.AlignRight)
		for _, row := range cells(group) {
			fmt.Fprintln(tw, strings.Join(row, "\t")+"\t")
		}
		if err := tw.Flush(); err != nil {
			return err
		}
	}
	return nil
}

func (w *textWriter) Close() error { return nil }
