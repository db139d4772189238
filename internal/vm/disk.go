package vm

import (
	"encoding/binary"
	"io"
)

// writeDisk writes an empty disk image in QEMU's own format (docs/interop/qcow2.rst), which is where QEMU keeps the state of
// a machine. The disk itself is never used. The image has four clusters: the header, the table of
// reference counts, its only block, and the table of the disk's clusters, of which there are none.
func writeDisk(w io.Writer) error {
	const (
		clusterBits = 16
		cluster     = 1 << clusterBits
		clusters    = 4
		size        = 1 << 20 // of the disk
	)
	header := struct {
		Magic, Version                      uint32
		BackingFile                         uint64
		BackingFileSize, ClusterBits        uint32
		Size                                uint64
		Encryption, L1Size                  uint32
		L1Table, ReferenceTable             uint64
		ReferenceTableClusters, Snapshots   uint32
		SnapshotTable                       uint64
		Incompatible, Compatible, AutoClear uint64
		ReferenceOrder, HeaderLength        uint32
	}{
		Magic: 0x514649fb, Version: 3, ClusterBits: clusterBits, Size: size,
		L1Size: 1, L1Table: 3 * cluster, ReferenceTable: 1 * cluster, ReferenceTableClusters: 1,
		ReferenceOrder: 4, HeaderLength: 104, // counts of 2^4 bits
	}
	image := make([]byte, clusters*cluster)
	if _, err := binary.Encode(image, binary.BigEndian, header); err != nil {
		return err
	}
	binary.BigEndian.PutUint64(image[1*cluster:], 2*cluster) // the table's only entry: where the block is
	for i := range clusters {
		binary.BigEndian.PutUint16(image[2*cluster+2*i:], 1) // each cluster is used once
	}
	_, err := w.Write(image)
	return err
}
