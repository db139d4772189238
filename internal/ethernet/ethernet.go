// Package ethernet has the sizes of Ethernet frames, in bytes.
package ethernet

const (
	HeaderLength = 14   // two addresses and the EtherType, without a VLAN tag
	MTU          = 1500 // the payload of a full frame
	FrameLength  = HeaderLength + MTU
)
