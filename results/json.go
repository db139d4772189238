package results

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"

	"github.com/tcplab/tcplab/internal/text"
)

// A jsonReport is the document that writeJSON writes.
type jsonReport struct {
	Schema    int            `json:"schema"` // SchemaVersion, which is that of the records, too
	Passed    int            `json:"passed"`
	Failed    int            `json:"failed"`
	Skipped   int            `json:"skipped"`
	Missing   int            `json:"missing"`
	Focused   []string       `json:"focused,omitempty"`
	Scenarios []jsonScenario `json:"scenarios"`
}

type jsonScenario struct {
	Folder string  `json:"folder"` // of the evidence; empty where there is none
	Record *Record `json:"record"`
}

// writeJSON writes one document for programs: how many scenarios passed, failed, were skipped and are missing, and, in the
// records' order, each scenario's folder and whole record, of the schema in this package's documentation.
func writeJSON(w io.Writer, report Report) error {
	tally := Count(report.Records)
	document := jsonReport{
		Schema: SchemaVersion, Passed: tally.Passed, Failed: tally.Failed, Skipped: tally.Skipped, Missing: report.Missing, Focused: report.Focused,
		Scenarios: []jsonScenario{},
	}
	for _, r := range report.Records {
		document.Scenarios = append(document.Scenarios, jsonScenario{Folder: r.dir, Record: r.canonical()})
	}
	compact, err := marshal(document)
	if err != nil {
		return fmt.Errorf("JSON report: %w", err)
	}
	var indented bytes.Buffer
	if err := json.Indent(&indented, compact, "", "  "); err != nil {
		return fmt.Errorf("JSON report: %w", err)
	}
	indented.WriteByte('\n')
	_, err = w.Write(text.EscapeJSON(indented.Bytes()))
	return err
}
