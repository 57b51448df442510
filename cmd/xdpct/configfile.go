package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/pflag"
)

// readRun reads the flags of run: those of the command line and, where it does not
// have them, those of the file that --config names. It returns all of them as well,
// to be compared with what a later reading says.
func readRun(given *pflag.FlagSet) (runConfig, *pflag.FlagSet, error) {
	var flags runFlags
	all := pflag.NewFlagSet("run", pflag.ContinueOnError)
	flags.register(all)
	if path := given.Lookup("config").Value.String(); path != "" {
		if err := readConfigFile(all, path); err != nil {
			return runConfig{}, nil, err
		}
	}
	var err error
	given.Visit(func(f *pflag.Flag) {
		if to := all.Lookup(f.Name); to != nil && err == nil {
			err = overrule(to, f)
		}
	})
	if err != nil {
		return runConfig{}, nil, asUsage(err)
	}
	cfg, err := flags.parse()
	return cfg, all, err
}

// overrule puts the value of one flag in place of another's: all values of one that
// is repeatable.
func overrule(to, from *pflag.Flag) error {
	list, repeatable := from.Value.(pflag.SliceValue)
	if !repeatable {
		return to.Value.Set(from.Value.String())
	}
	return to.Value.(pflag.SliceValue).Replace(list.GetSlice())
}

// readConfigFile sets flags by a file that has one in each line, as on the command
// line: --name VALUE, --name=VALUE or --name. Empty lines and those that begin with
// # are passed over.
func readConfigFile(flags *pflag.FlagSet, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("--config: %w", err)
	}
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan() && err == nil; n++ {
		if err = setByLine(flags, strings.TrimSpace(lines.Text())); err != nil {
			err = usagef("%s:%d: %w", path, n, err)
		}
	}
	return errors.Join(err, lines.Err(), f.Close())
}

// setByLine sets the flag of a line.
func setByLine(flags *pflag.FlagSet, line string) error {
	if line == "" || line[0] == '#' {
		return nil
	}
	text, ok := strings.CutPrefix(line, "--")
	if !ok {
		return fmt.Errorf("%q: give one flag in each line, such as --snat 198.51.100.10", line)
	}
	name, value := text, ""
	i := strings.IndexAny(text, "= \t")
	if i >= 0 {
		name, value = text[:i], strings.TrimSpace(text[i+1:])
	}
	f := flags.Lookup(name)
	switch {
	case f == nil:
		return fmt.Errorf("unknown flag: --%s", name)
	case name == "config":
		return fmt.Errorf("--config: a file names no other")
	case i < 0 && f.NoOptDefVal == "":
		return fmt.Errorf("flag needs an argument: --%s", name)
	case i < 0:
		value = f.NoOptDefVal
	}
	return flags.Set(name, value)
}
