package queue

import (
	"errors"
	"fmt"
	"strings"

	"github.com/mdlayher/netlink"
)

// A table is a discipline whose TCA_OPTIONS are attributes, each with a number.
type table[T Discipline] struct {
	value   *T
	options []option
	notes   []string
}

// UnmarshalJSON reads the discipline.
func (t *table[T]) UnmarshalJSON(data []byte) error { return unmarshalStrict(data, t.value) }

func (t *table[T]) discipline() Discipline { return *t.value }

func (t *table[T]) chosen() []string { return t.notes }

func (t *table[T]) encode() ([]byte, error) {
	ae := netlink.NewAttributeEncoder()
	empty := true
	for _, o := range t.options {
		if o.isSet() {
			ae.Bytes(o.attribute, o.bytes())
			empty = false
		}
	}
	if empty {
		return nil, nil
	}
	return ae.Encode()
}

func (t *table[T]) decode(data []byte) error {
	got, err := attributes(data)
	if err != nil {
		return err
	}
	for _, o := range t.options {
		if data, there := got[o.attribute]; there {
			v, err := o.number(data)
			if err != nil {
				return err
			}
			o.put(v)
		}
	}
	return nil
}

func (t *table[T]) differences(sent, got []byte) ([]string, error) {
	was, err := attributes(sent)
	if err != nil {
		return nil, err
	}
	has, err := attributes(got)
	if err != nil {
		return nil, err
	}
	var differences []string
	for _, o := range t.options {
		data, asked := was[o.attribute]
		if !asked {
			continue
		}
		want, err := o.number(data)
		if err != nil {
			return nil, err
		}
		data, there := has[o.attribute]
		if !there {
			differences = append(differences, fmt.Sprintf("%s: sent %s, and this kernel does not know it", o.field, o.show(want)))
			continue
		}
		v, err := o.number(data)
		if err != nil {
			return nil, err
		}
		if !o.agrees(want, v) {
			differences = append(differences, fmt.Sprintf("%s: sent %s, got %s", o.field, o.show(want), o.show(v)))
		}
	}
	return differences, nil
}

// attributes are the payloads by their numbers. A later one of the same number takes the place of an earlier one.
func attributes(data []byte) (map[uint16][]byte, error) {
	all := map[uint16][]byte{}
	if len(data) == 0 {
		return all, nil
	}
	ad, err := netlink.NewAttributeDecoder(data)
	if err != nil {
		return nil, fmt.Errorf("options: %w", err)
	}
	for ad.Next() {
		all[ad.Type()] = ad.Bytes()
	}
	if err := ad.Err(); err != nil {
		return nil, fmt.Errorf("options: %w", err)
	}
	return all, nil
}

// text is what tc would be told.
func text(kind string, options []option) string {
	words := []string{kind}
	for _, o := range options {
		if o.isSet() {
			words = append(words, o.String())
		}
	}
	return strings.Join(words, " ")
}

// check refuses what is set and not allowed.
func check(kind string, options []option, more func(c *checker)) error {
	var c checker
	for _, o := range options {
		if o.isSet() && o.wrong() {
			c.refuse(kind+"."+o.field, o.text(), o.allowed)
		}
	}
	if more != nil {
		more(&c)
	}
	return errors.Join(c.errs...)
}
