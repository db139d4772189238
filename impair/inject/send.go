package inject

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/harness/invalid"
	"github.com/tcplab/tcplab/internal/thread"
	"github.com/tcplab/tcplab/netns/netdev"
)

// ErrNotPermitted: the process may not open packet sockets there. It is wrapped: use errors.Is.
var ErrNotPermitted = errors.New("not permitted: run as root (CAP_NET_RAW over the device's namespace), or use a guest kernel, which needs no root: tcplab run")

// Sent is a packet that was sent.
type Sent struct {
	At    time.Time // when it was handed to the device, by the clock that captures have
	Frame []byte    // from its Ethernet header on
}

// Send sends a packet out of a device, of Ethernet, to the address of the device at the other end of its link. What is wrong with
// the packet is an [*invalid.FieldError], as of its Validate; other errors are [ErrNotPermitted] and [netdev.ErrNoDevice].
func Send(from netdev.Device, to net.HardwareAddr, p Packet) (Sent, error) {
	if err := from.Validate(); err != nil {
		return Sent{}, err
	}
	if len(to) != 6 {
		return Sent{}, &invalid.FieldError{Field: "to", Value: to, Allowed: "want an Ethernet address, of 6 bytes"}
	}
	ip, err := p.IP()
	if err != nil {
		return Sent{}, err
	}
	var sent Sent
	err = thread.In(from.NetNS, func() (err error) {
		sent, err = send(from, to, ip)
		return err
	})
	if err != nil {
		return Sent{}, fmt.Errorf("send %v out of %v: %w", p, from, err)
	}
	return sent, nil
}

// send sends a packet in the namespace of the calling thread.
func send(from netdev.Device, to net.HardwareAddr, ip []byte) (Sent, error) {
	device, err := find(from)
	if err != nil {
		return Sent{}, err
	}
	if len(device.HardwareAddr) != len(to) {
		return Sent{}, fmt.Errorf("%w that is of Ethernet: its address is %q", netdev.ErrNoDevice, device.HardwareAddr)
	}
	if len(ip) > device.MTU {
		return Sent{}, fmt.Errorf("its %d bytes are more than the MTU of %d: nobody makes fragments of it", len(ip), device.MTU)
	}
	protocol := uint16(unix.ETH_P_IP)
	if ip[0]>>4 == 6 {
		protocol = unix.ETH_P_IPV6
	}
	frame := append(append([]byte(nil), to...), device.HardwareAddr...)
	frame = append(binary.BigEndian.AppendUint16(frame, protocol), ip...)

	// Protocol 0: the socket receives nothing.
	socket, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return Sent{}, translate("open a packet socket", err)
	}
	defer unix.Close(socket)
	network := binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, protocol))
	at := time.Now()
	err = unix.Sendto(socket, frame, 0, &unix.SockaddrLinklayer{Ifindex: device.Index, Protocol: network})
	if err != nil {
		return Sent{}, translate("sendto", err)
	}
	return Sent{At: at, Frame: frame}, nil
}

func find(d netdev.Device) (*net.Interface, error) {
	var found *net.Interface
	var err error
	if d.Index > 0 {
		found, err = net.InterfaceByIndex(d.Index)
	} else {
		found, err = net.InterfaceByName(d.Name)
	}
	if err != nil {
		return nil, fmt.Errorf("%w (%w)", netdev.ErrNoDevice, err)
	}
	return found, d.CheckName(found.Name)
}

func translate(call string, err error) error {
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		err = fmt.Errorf("%w (%w)", ErrNotPermitted, err)
	case errors.Is(err, unix.ENXIO), errors.Is(err, unix.ENODEV):
		err = fmt.Errorf("%w (%w)", netdev.ErrNoDevice, err)
	}
	return fmt.Errorf("%s: %w", call, err)
}
