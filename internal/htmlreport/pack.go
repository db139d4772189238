package htmlreport

import (
	"errors"
	"maps"
	"runtime"
	"slices"
	"sync"

	"github.com/tcplab/tcplab/internal/picture"
)

// The most that is drawn of one scenario, however few there are.
var most = detail{packets: 100_000, decoded: 4_000}

// A part is a scenario, or a capture, that is to be packed.
type part struct {
	name  string  // those with much in common sort beside each other
	known members // but for its drawing
	load  func() *picture.Picture
	files []string // of its captures

	most    detail           // what its drawing has at first
	picture *picture.Picture // once it was loaded, with as many packets as there may be at first
	shapes  shapes           // of its packets' headers
	detail  detail           // what its drawing has
	encoded string           // its drawing
}

// prepare packs a part for the first time.
func (p *part) prepare() error {
	whole := p.load()
	p.load = nil // it may hold all packets
	p.picture = whole.Reduce(p.most.packets)
	p.detail = detail{min(p.most.packets, len(p.picture.Packets)), min(p.most.decoded, len(p.picture.Packets))}
	encoded, err := p.encode(p.detail)
	if err != nil {
		return err
	}
	p.encoded, p.shapes.done = encoded, true // the shapes are in a bundle, which is packed before drawings shrink
	what := described(p.picture)
	what["packets_total"], what["shapes"], what["ways"] = len(whole.Packets), present(p.shapes.list), ways(whole)
	p.known = maps.Clone(p.known)
	for name, value := range what {
		if err := p.known.put(name, value); err != nil {
			return err
		}
	}
	return nil
}

// encode is the block of the part's drawing in so much detail.
func (p *part) encode(d detail) (string, error) {
	return draw(p.picture, p.files, d, &p.shapes).encode()
}

// shrink lets the part's drawing have no more than so many bytes, as far as its packets are what makes it large: it looks for the most of them
// that fit.
func (p *part) shrink(size int) error {
	if len(p.encoded) <= size {
		return nil
	}
	full, fullSize := 1.0, len(p.encoded) // a share of the detail that is too much
	at := func(share float64) detail {
		return detail{int(share * float64(p.detail.packets)), int(share * float64(p.detail.decoded))}
	}
	fits := 0.0
	encoded, err := p.encode(detail{})
	if err != nil {
		return err
	}
	best := detail{}
	const rounds, enough = 8, 0.95
	for round := range rounds {
		if len(encoded) > size || float64(len(encoded)) >= enough*float64(size) {
			break
		}
		share := (fits + full) / 2
		if round%2 == 0 { // most grow with the packets: where they would be as large as they may be, and a little less
			share = fits + 0.98*(full-fits)*float64(size-len(encoded))/float64(max(1, fullSize-len(encoded)))
		}
		now := at(share)
		if now == best {
			break
		}
		try, err := p.encode(now)
		switch {
		case err != nil:
			return err
		case len(try) <= size:
			fits, best, encoded = share, now, try
		default:
			full, fullSize = share, len(try)
		}
	}
	p.detail, p.encoded = best, encoded
	return nil
}

// pack packs the drawings of parts that are prepared, for them to have no more than so many bytes together: those that are larger than their
// share are packed again with fewer packets.
func pack(parts []*part, size int) error {
	// What has no packets left takes its room from the others, which have to become smaller still.
	for {
		room, total := size, 0
		var sizes []int
		var able []*part
		for _, p := range parts {
			total += len(p.encoded)
			if p.detail.packets == 0 {
				room -= len(p.encoded)
				continue
			}
			able, sizes = append(able, p), append(sizes, len(p.encoded))
		}
		if total <= size || len(able) == 0 {
			return nil
		}
		share := picture.Share(sizes, max(0, room))
		large := slices.DeleteFunc(able, func(p *part) bool { return len(p.encoded) <= share })
		if err := each(large, func(p *part) error { return p.shrink(share) }); err != nil {
			return err
		}
	}
}

// each does something with all parts, on all processors.
func each(parts []*part, do func(*part) error) error {
	errs := make([]error, len(parts))
	next := make(chan int)
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for i := range next {
				errs[i] = do(parts[i])
			}
		})
	}
	for i := range parts {
		next <- i
	}
	close(next)
	workers.Wait()
	return errors.Join(errs...)
}
