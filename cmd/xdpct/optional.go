package main

import "github.com/spf13/pflag"

// optionalString is a flag that may stand alone or with =value.
type optionalString string

// noValue is what pflag sets when the flag stands alone. It is no address.
const noValue = "-"

// Set stores the value; "" when the flag stands alone.
func (o *optionalString) Set(s string) error {
	if s == noValue {
		s = ""
	}
	*o = optionalString(s)
	return nil
}

// String returns the value.
func (o *optionalString) String() string { return string(*o) }

// Type names the value in the help.
func (o *optionalString) Type() string { return "string" }

// optional lets a flag stand alone.
func optional(f *pflag.Flag) { f.NoOptDefVal = noValue }
