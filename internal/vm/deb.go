package vm

import (
	"archive/tar"
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/textproto"
	"path"
	"strconv"
	"strings"
)

// debMagic begins an ar archive, which a Debian package is: deb(5).
const debMagic = "!<arch>\n"

// arHeader is the length of what precedes each member: name (16 bytes), time, owner, group, mode, size (10, at 48), and
// an end mark.
const (
	arHeader     = 60
	arSizeOffset = 48
	arEndOffset  = 58
	arEnd        = "`\n"
)

// unpackDeb unpacks a Debian package. (dpkg-deb would do it as well; but so it works on Fedora, too.)
func unpackDeb(content *io.SectionReader, out *unpacker) (packageID, error) {
	id := packageID{separator: "_"}
	hasData := false
	for offset := int64(len(debMagic)); offset < content.Size(); {
		var header [arHeader]byte
		if _, err := content.ReadAt(header[:], offset); err != nil {
			return id, fmt.Errorf("ar: member at %d: %w", offset, err)
		}
		size, err := strconv.ParseUint(strings.TrimSpace(string(header[arSizeOffset:arEndOffset])), 10, 62)
		if err != nil || string(header[arEndOffset:]) != arEnd {
			return id, fmt.Errorf("ar: member at %d: no header", offset)
		}
		offset += arHeader
		if int64(size) > content.Size()-offset {
			return id, fmt.Errorf("ar: member at %d has %d bytes, which is past the end at %d: an incomplete download?", offset, size, content.Size())
		}
		// GNU's ar ends a name with a slash.
		name := strings.TrimSuffix(strings.TrimSpace(string(header[:16])), "/")
		switch {
		case strings.HasPrefix(name, "control.tar"):
			if err := readMember(name, member(content, offset, size), id.readControl); err != nil {
				return id, fmt.Errorf("%s: %w", name, err)
			}
		case strings.HasPrefix(name, "data.tar"):
			hasData = true
			if err := readMember(name, member(content, offset, size), out.unpackTar); err != nil {
				return id, fmt.Errorf("%s: %w", name, err)
			}
		}
		offset += int64(size + size%2) // members begin at even offsets
	}
	if id.Name == "" || !hasData {
		return id, errors.New("no control.tar.* or no data.tar.*: an archive, but no Debian package")
	}
	return id, nil
}

func member(content io.ReaderAt, offset int64, size uint64) io.Reader {
	return io.NewSectionReader(content, offset, int64(size))
}

// readMember passes on the uncompressed content of an archive's member.
func readMember(name string, content io.Reader, read func(io.Reader) error) error {
	if path.Ext(name) == ".tar" {
		return read(content)
	}
	return decompress(content, read)
}

// controlLimit is more than any control file has: they are some KB.
const controlLimit = 1 << 20

// readControl reads the package's name and version from its control file.
func (p *packageID) readControl(content io.Reader) error {
	entries := tar.NewReader(content)
	for {
		header, err := entries.Next()
		if errors.Is(err, io.EOF) {
			return errors.New("it has no control file")
		}
		if err != nil {
			return err
		}
		if path.Clean(header.Name) != "control" {
			continue
		}
		if header.Size > controlLimit {
			return fmt.Errorf("control: it has %d bytes; at most %d are read", header.Size, controlLimit)
		}
		fields, err := readStanza(bufio.NewReader(entries))
		if err != nil {
			return fmt.Errorf("control: %w", err)
		}
		if p.Name, p.Version = fields.Get("Package"), fields.Get("Version"); p.Name == "" || p.Version == "" {
			return errors.New("control: no Package or no Version")
		}
		return nil
	}
}

// readStanza reads the fields of one package, which are written like the header of a mail: deb822(5). At the end of the
// stream the error is io.EOF.
func readStanza(r *bufio.Reader) (textproto.MIMEHeader, error) {
	for { // between stanzas there can be more than one empty line
		next, err := r.Peek(1)
		if err != nil {
			return nil, err
		}
		if next[0] != '\n' {
			break
		}
		if _, err := r.Discard(1); err != nil {
			return nil, err
		}
	}
	fields, err := textproto.NewReader(r).ReadMIMEHeader()
	if errors.Is(err, io.EOF) && len(fields) > 0 {
		err = nil // the last one may end without an empty line
	}
	return fields, err
}
