package main

import (
	"bytes"
	"encoding/json"
	"io"

	"github.com/tcplab/tcplab/internal/text"
)

// writeJSON writes a value for programs, and for the terminal of whoever looks: what a terminal might take for an order
// is escaped, also what JSON does not ask for.
func writeJSON(w io.Writer, v any) error {
	var document bytes.Buffer
	encoder := json.NewEncoder(&document)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(v); err != nil {
		return err
	}
	_, err := w.Write(text.EscapeJSON(document.Bytes()))
	return err
}
