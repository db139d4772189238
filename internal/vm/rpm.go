package vm

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path"
	"strconv"
)

// An RPM package is a lead of 96 bytes, two headers and a compressed cpio archive; see format_v4 and format_v6 in rpm's
// manual. The libraries that read it do not suit: cavaliergopher/rpm and sassoftware/go-rpmutils fall over
// damaged headers, and the former does not know the archive of format 6, which the latter brings a C library for.
const (
	rpmMagic       = "\xed\xab\xee\xdb"
	rpmLead        = 96
	rpmHeaderMagic = "\x8e\xad\xe8\x01"
	rpmHeaderStart = 16 // magic, 4 reserved bytes, number of entries, size of their data

	// What a header may have of each: rpm's HEADER_TAGS_MAX (lib/header.c); and more than any package of kernels has
	// files (kernel-modules has 4,000) or says of itself.
	rpmEntriesLimit = 0xffff
	rpmValuesLimit  = 1 << 18
	rpmHeaderLimit  = 64 << 20
)

// Tags of a header: rpmtag.h.
const (
	rpmName          = 1000
	rpmVersion       = 1001
	rpmRelease       = 1002
	rpmArch          = 1022
	rpmFileSizes     = 1028
	rpmFileModes     = 1030
	rpmFileInodes    = 1096
	rpmRequires      = 1049
	rpmDirIndexes    = 1116
	rpmBaseNames     = 1117
	rpmDirNames      = 1118
	rpmLongFileSizes = 5008
)

// Types of a header's values.
const (
	rpmInt16       = 3
	rpmInt32       = 4
	rpmInt64       = 5
	rpmString      = 6
	rpmBinary      = 7 // its count is of bytes
	rpmStringArray = 8
	rpmI18NString  = 9
)

// unpackRPM unpacks an RPM package.
func unpackRPM(content *io.SectionReader, out *unpacker) (packageID, error) {
	id := packageID{separator: "-"}
	_, signatures, err := readRPMHeader(content, rpmLead)
	if err != nil {
		return id, fmt.Errorf("signatures: %w", err)
	}
	header, end, err := readRPMHeader(content, (signatures+7)/8*8)
	if err != nil {
		return id, fmt.Errorf("header: %w", err)
	}
	id.Name = header.text(rpmName)
	id.Version = header.text(rpmVersion) + "-" + header.text(rpmRelease) + "." + header.text(rpmArch)
	for _, feature := range header.texts(rpmRequires) {
		if feature == "rpmlib(PayloadAlignment)" {
			return id, errors.New("its files are aligned (rpmlib(PayloadAlignment)), which tcplab cannot read: unpack it by rpm2archive, " +
				"and name the folder")
		}
	}
	files, err := header.files()
	if err != nil {
		return id, fmt.Errorf("header: %w", err)
	}
	payload := io.NewSectionReader(content, end, content.Size()-end)
	if err := decompress(payload, func(plain io.Reader) error { return unpackCPIO(plain, files, out) }); err != nil {
		return id, fmt.Errorf("payload: %w", err)
	}
	return id, nil
}

// An rpmValue is what a header has for a tag.
type rpmValue struct {
	kind, count uint32
	data        []byte // up to the end of the header's data
}

type rpmHeader map[uint32]rpmValue

// readRPMHeader reads the header at an offset, and tells where it ends.
func readRPMHeader(content *io.SectionReader, offset int64) (rpmHeader, int64, error) {
	var start [rpmHeaderStart]byte
	if _, err := content.ReadAt(start[:], offset); err != nil {
		return nil, 0, err
	}
	if !bytes.HasPrefix(start[:], []byte(rpmHeaderMagic)) {
		return nil, 0, fmt.Errorf("none at %d", offset)
	}
	entries := int64(binary.BigEndian.Uint32(start[8:]))
	size := int64(binary.BigEndian.Uint32(start[12:]))
	offset += rpmHeaderStart
	if length := entries*16 + size; entries > rpmEntriesLimit || length > rpmHeaderLimit || length > content.Size()-offset {
		return nil, 0, fmt.Errorf("%d entries and %d bytes at %d: more than there is, or than a header has", entries, size, offset)
	}
	text := make([]byte, entries*16+size)
	if _, err := content.ReadAt(text, offset); err != nil {
		return nil, 0, err
	}
	index, data := text[:entries*16], text[entries*16:]
	header := rpmHeader{}
	for ; len(index) > 0; index = index[16:] {
		at := int64(binary.BigEndian.Uint32(index[8:]))
		if at > size {
			return nil, 0, fmt.Errorf("the value of tag %d is past its end", binary.BigEndian.Uint32(index))
		}
		value := rpmValue{kind: binary.BigEndian.Uint32(index[4:]), count: binary.BigEndian.Uint32(index[12:]), data: data[at:]}
		if value.kind != rpmBinary && value.count > rpmValuesLimit {
			return nil, 0, fmt.Errorf("tag %d has %d values: at most %d are read", binary.BigEndian.Uint32(index), value.count, rpmValuesLimit)
		}
		header[binary.BigEndian.Uint32(index)] = value
	}
	return header, offset + entries*16 + size, nil
}

// texts are the strings of a tag, as many as there are.
func (h rpmHeader) texts(tag uint32) (texts []string) {
	value := h[tag]
	if value.kind != rpmString && value.kind != rpmStringArray && value.kind != rpmI18NString {
		return nil
	}
	rest := value.data
	for range value.count {
		text, after, found := bytes.Cut(rest, []byte{0})
		if !found {
			break
		}
		texts, rest = append(texts, string(text)), after
	}
	return texts
}

func (h rpmHeader) text(tag uint32) string {
	if texts := h.texts(tag); len(texts) > 0 {
		return texts[0]
	}
	return ""
}

// numbers are the integers of a tag, as many as there are.
func (h rpmHeader) numbers(tag uint32) (numbers []int64) {
	value := h[tag]
	width, known := map[uint32]int{rpmInt16: 2, rpmInt32: 4, rpmInt64: 8}[value.kind]
	if !known {
		return nil
	}
	for rest := value.data; len(rest) >= width && len(numbers) < int(value.count); rest = rest[width:] {
		var wide [8]byte
		copy(wide[8-width:], rest[:width])
		numbers = append(numbers, int64(binary.BigEndian.Uint64(wide[:])))
	}
	return numbers
}

// An rpmFile is what the header knows of a file. Of several links to one file, only the last has its content in
// the archive.
type rpmFile struct {
	name  string
	mode  int64
	size  int64    // of what the archive has of it
	links []string // the other names of the file whose content this is
}

const (
	modeTypes   = 0o170000
	modeRegular = 0o100000
	modeSymlink = 0o120000
)

// files lists the package's files. The archive of format 6, and that of large files, refers to them by their number.
func (h rpmHeader) files() ([]rpmFile, error) {
	names, dirs, dirIndexes := h.texts(rpmBaseNames), h.texts(rpmDirNames), h.numbers(rpmDirIndexes)
	modes, inodes, sizes := h.numbers(rpmFileModes), h.numbers(rpmFileInodes), h.numbers(rpmLongFileSizes)
	if sizes == nil {
		sizes = h.numbers(rpmFileSizes)
	}
	if len(dirIndexes) != len(names) || len(modes) != len(names) || len(sizes) != len(names) {
		return nil, fmt.Errorf("%d names of files, but %d directories, %d modes and %d sizes", len(names), len(dirIndexes), len(modes), len(sizes))
	}
	files := make([]rpmFile, len(names))
	last := map[int64]int{} // of each inode
	for i, name := range names {
		if dirIndexes[i] < 0 || dirIndexes[i] >= int64(len(dirs)) || sizes[i] < 0 {
			return nil, fmt.Errorf("file %s: no such directory, or a negative size", name)
		}
		files[i] = rpmFile{name: path.Join(dirs[dirIndexes[i]], name), mode: modes[i], size: sizes[i]}
		switch modes[i] & modeTypes {
		case modeRegular:
			if i < len(inodes) && inodes[i] != 0 {
				if before, linked := last[inodes[i]]; linked {
					// Handed on, not copied: all files of a package can be one.
					files[before].links = append(files[before].links, files[before].name)
					files[i].links, files[before].links = files[before].links, nil
					files[before].size = 0
				}
				last[inodes[i]] = i
			}
		case modeSymlink: // its target
		default:
			files[i].size = 0
		}
	}
	return files, nil
}

// An archive of cpio's "new ASCII" format has a header of 110 bytes before each name: cpio(5). RPM's own one has only the
// number of the file, as 8 hexadecimal digits.
const (
	cpioMagic       = "070701"
	cpioCRCMagic    = "070702"
	cpioRPMMagic    = "07070X"
	cpioHeader      = 110
	cpioRPMHeader   = 14
	cpioModeOffset  = 14
	cpioSizeOffset  = 54
	cpioNameOffset  = 94
	cpioNameLimit   = 4096
	cpioTrailer     = "TRAILER!!!"
	cpioHexadecimal = 8
)

func unpackCPIO(content io.Reader, files []rpmFile, out *unpacker) error {
	r := cpioReader{buffered: bufio.NewReader(content), files: files, byName: map[string]rpmFile{}}
	for _, file := range files {
		r.byName[path.Clean("/"+file.name)] = file
	}
	for {
		file, err := r.next()
		if err != nil {
			return err
		}
		if file.name == cpioTrailer {
			return nil
		}
		content := io.LimitReader(&r, file.size)
		// Without content it is another name of a file that is still to come.
		if file.mode&modeTypes == modeRegular && file.size > 0 {
			if err := out.file(content, append([]string{file.name}, file.links...)...); err != nil {
				return err
			}
		}
		if err := r.skip(content); err != nil {
			return err
		}
	}
}

type cpioReader struct {
	buffered *bufio.Reader
	offset   int64
	files    []rpmFile
	byName   map[string]rpmFile
}

func (r *cpioReader) Read(p []byte) (int, error) {
	n, err := r.buffered.Read(p)
	r.offset += int64(n)
	return n, err
}

// skip goes to the end of a file, and to the next offset that can be divided by four.
func (r *cpioReader) skip(content io.Reader) error {
	if _, err := io.Copy(io.Discard, content); err != nil {
		return err
	}
	return r.pad()
}

func (r *cpioReader) pad() error {
	_, err := r.take(int((4 - r.offset%4) % 4))
	return err
}

func (r *cpioReader) take(n int) ([]byte, error) {
	taken := make([]byte, n)
	if _, err := io.ReadFull(r, taken); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF // only the trailer ends it
		}
		return nil, fmt.Errorf("cpio at %d: %w", r.offset, err)
	}
	return taken, nil
}

// next reads the header of the next file.
func (r *cpioReader) next() (rpmFile, error) {
	magic, err := r.take(len(cpioMagic))
	if err != nil {
		return rpmFile{}, err
	}
	switch string(magic) {
	case cpioRPMMagic:
		header, err := r.take(cpioRPMHeader - len(magic))
		if err != nil {
			return rpmFile{}, err
		}
		number, err := strconv.ParseUint(string(header), 16, 32)
		if err != nil || number >= uint64(len(r.files)) {
			return rpmFile{}, fmt.Errorf("cpio: file %q is none of the header's %d", header, len(r.files))
		}
		return r.files[number], r.pad()
	case cpioMagic, cpioCRCMagic:
		return r.newASCII()
	default:
		return rpmFile{}, fmt.Errorf("cpio at %d: %q is no file's beginning", r.offset-int64(len(magic)), magic)
	}
}

func (r *cpioReader) newASCII() (rpmFile, error) {
	rest, err := r.take(cpioHeader - len(cpioMagic))
	if err != nil {
		return rpmFile{}, err
	}
	var parseErr error
	field := func(offset int) int64 {
		at := offset - len(cpioMagic)
		value, err := strconv.ParseUint(string(rest[at:at+cpioHexadecimal]), 16, 32)
		parseErr = errors.Join(parseErr, err)
		return int64(value)
	}
	file := rpmFile{mode: field(cpioModeOffset), size: field(cpioSizeOffset)}
	length := field(cpioNameOffset)
	if parseErr != nil {
		return rpmFile{}, fmt.Errorf("cpio: %w", parseErr)
	}
	if length < 1 || length > cpioNameLimit {
		return rpmFile{}, fmt.Errorf("cpio: a name of %d bytes", length)
	}
	name, err := r.take(int(length))
	if err != nil {
		return rpmFile{}, err
	}
	file.name = string(bytes.TrimSuffix(name, []byte{0}))
	file.links = r.byName[path.Clean("/"+file.name)].links
	return file, r.pad()
}
