package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/tcplab/tcplab/harness/analysis"
	"github.com/tcplab/tcplab/internal/text"
)

// followAll prints what the programs of one stream of each file said.
func followAll(command *cobra.Command, files []string, stream int, asHex, asJSON bool) error {
	var errs []error
	for _, file := range files {
		errs = append(errs, followFile(command, file, stream, asHex, asJSON))
	}
	return errors.Join(errs...)
}

func followFile(command *cobra.Command, file string, stream int, asHex, asJSON bool) error {
	reader, err := openCapture(command.InOrStdin(), file)
	if err != nil {
		return err
	}
	defer func() { _ = reader.Close() }() // read only: there is nothing that an error could tell
	defer showProgress(command.Context(), reader, file).Done()
	printer := payloadPrinter{out: command.OutOrStdout(), asHex: asHex}
	pieces := []analysis.Piece{}
	var failure error
	for piece, err := range reader.Payload(stream) {
		switch {
		case err != nil:
			failure = err
		case asJSON:
			pieces = append(pieces, piece)
		default:
			if err := printer.print(piece); err != nil {
				return err
			}
		}
	}
	if asJSON && failure == nil {
		return writeJSON(command.OutOrStdout(), struct {
			File   string           `json:"file"`
			Stream int              `json:"stream"`
			Pieces []analysis.Piece `json:"pieces"`
		}{file, stream, pieces})
	}
	if failure == nil && printer.from == "" && !asJSON {
		_, err := fmt.Fprintf(printer.out, "stream %d has no payload\n", stream)
		return err
	}
	return errors.Join(failure, printer.end())
}

// payloadPrinter has a line above what one side says before the other does.
type payloadPrinter struct {
	out    io.Writer
	asHex  bool
	from   string
	inLine bool           // the last line has no end
	said   map[string]int // bytes, by side
}

func (p *payloadPrinter) print(piece analysis.Piece) error {
	if piece.From != p.from {
		if err := p.end(); err != nil {
			return err
		}
		p.from = piece.From
		arrow := map[string]string{"client": "-->", "server": "<--"}[p.from]
		if _, err := fmt.Fprintf(p.out, "%s %s, frame %d, %.6f s\n", arrow, p.from, piece.Frame, piece.At.Seconds()); err != nil {
			return err
		}
	}
	if p.said == nil {
		p.said = map[string]int{}
	}
	defer func() { p.said[p.from] += len(piece.Data) + piece.Missing }()
	if piece.Missing > 0 {
		if err := p.end(); err != nil {
			return err
		}
		_, err := fmt.Fprintf(p.out, "[%d bytes were not captured]\n", piece.Missing)
		return err
	}
	if p.asHex {
		return p.hex(piece.Data)
	}
	p.inLine = piece.Data[len(piece.Data)-1] != '\n'
	_, err := io.WriteString(p.out, text.PrintableLines(string(piece.Data)))
	return err
}

// hex prints 16 bytes in a line, with the position of the first one in all that the side has said.
func (p *payloadPrinter) hex(data []byte) error {
	for i := 0; i < len(data); i += 16 {
		part := data[i:min(i+16, len(data))]
		if _, err := fmt.Fprintf(p.out, "%08x  %s", p.said[p.from]+i, hex.Dump(part)[10:]); err != nil {
			return err
		}
	}
	return nil
}

// end ends a line.
func (p *payloadPrinter) end() error {
	if !p.inLine {
		return nil
	}
	p.inLine = false
	_, err := fmt.Fprintln(p.out)
	return err
}
