// Package invalid has the error that refuses a field of what a caller gave: an impairment, a rule, a device, a program's
// configuration. All packages of tcplab return this one, before anything is done:
//
//	if field, ok := errors.AsType[*invalid.FieldError](err); ok {
//		fmt.Println(field.Field, field.Allowed)
//	}
package invalid

import "fmt"

// A FieldError refuses one field.
type FieldError struct {
	Of      string // what the field is of: "impairment", "bulk-client"; "" where the field says it
	Field   string // as in Go: "Loss.Percent"
	Value   any    // what was given; nil: nothing was
	Allowed string // what is allowed, why this is not, or what to do
}

// Error is like "impairment field Delay: -1ns is not allowed: want 0 to 24h0m0s".
func (e *FieldError) Error() string {
	field := e.Field
	if e.Of != "" {
		field = e.Of + " field " + field
	}
	if e.Value == nil {
		return fmt.Sprintf("%s is not set: %s", field, e.Allowed)
	}
	return fmt.Sprintf("%s: %v is not allowed: %s", field, e.Value, e.Allowed)
}
