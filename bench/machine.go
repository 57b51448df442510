package bench

import (
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Header says where and how the records that follow it were measured. It is
// the first line of a file of results.
type Header struct {
	Machine  Machine        `json:"machine"`
	Settings map[string]any `json:"settings"` // of the run: rounds, time, CPU
}

// Machine is what can be read about the computer and the program. What cannot
// be read is empty.
type Machine struct {
	CPU         string            `json:"cpu"`                   // model name
	Cores       int               `json:"cores"`                 // online CPUs
	Usable      int               `json:"usable_cores"`          // CPUs that this process may run on
	Virtual     bool              `json:"virtual"`               // a hypervisor is below
	Cache       string            `json:"last_level_cache"`      // size as the kernel prints it: 32768K
	Memory      uint64            `json:"memory_bytes"`          //
	Governor    string            `json:"governor,omitempty"`    // cpufreq, of CPU 0
	Kernel      string            `json:"kernel"`                // uname -r
	Mitigations map[string]string `json:"mitigations,omitempty"` // those that the CPU needs, by vulnerability
	HugePages   string            `json:"transparent_huge_pages"`
	Reserved    int               `json:"reserved_huge_pages"` // of 2 MiB
	Go          string            `json:"go"`
	GOAMD64     string            `json:"goamd64,omitempty"`
	PGO         bool              `json:"pgo"` // built with a profile
	Version     string            `json:"version"`
	Commit      string            `json:"commit,omitempty"`
}

// ReadMachine describes this computer and this program, whose version the
// caller knows.
func ReadMachine(version string) Machine {
	info := firstFields("/proc/cpuinfo")
	m := Machine{
		CPU: info["model name"], Cores: online(), Usable: runtime.NumCPU(),
		Virtual:  strings.Contains(" "+info["flags"]+" ", " hypervisor "),
		Cache:    lastLevelCache(),
		Governor: readLine("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"), Mitigations: mitigations(),
		HugePages: chosen(readLine("/sys/kernel/mm/transparent_hugepage/enabled")),
		Go:        runtime.Version(), Version: version,
	}
	m.Reserved, _ = strconv.Atoi(readLine("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"))
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		m.Kernel = unix.ByteSliceToString(u.Release[:])
	}
	m.Memory = meminfo("MemTotal")
	m.readBuild()
	return m
}

// readBuild reads what the go command left in the program.
func (m *Machine) readBuild() {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "GOAMD64":
			m.GOAMD64 = s.Value
		case "-pgo":
			m.PGO = s.Value != "" && s.Value != "off"
		case "vcs.revision":
			m.Commit = s.Value
		}
	}
}

// firstFields returns the fields of a /proc file up to its first empty line.
func firstFields(path string) map[string]string {
	fields := make(map[string]string)
	text, err := os.ReadFile(path)
	if err != nil {
		return fields
	}
	first, _, _ := strings.Cut(string(text), "\n\n")
	for line := range strings.Lines(first) {
		if k, v, ok := strings.Cut(line, ":"); ok {
			fields[strings.TrimSpace(k)] = strings.TrimSpace(v)
		}
	}
	return fields
}

// meminfo returns a figure of /proc/meminfo in bytes, 0 if it is not there.
func meminfo(name string) uint64 {
	kib, _ := strconv.ParseUint(strings.TrimSuffix(firstFields("/proc/meminfo")[name], " kB"), 10, 64) // 0 if it fails
	return kib << 10
}

// online counts the CPUs that are switched on.
func online() int {
	dirs, _ := filepath.Glob("/sys/devices/system/cpu/cpu[0-9]*") // fails on a bad pattern only
	n := 0
	for _, dir := range dirs {
		// CPU 0 often cannot be switched off and then has no such file.
		if readLine(filepath.Join(dir, "online")) != "0" {
			n++
		}
	}
	return n
}

// lastLevelCache returns the size of the largest cache of CPU 0.
func lastLevelCache() string {
	for index := 4; index >= 0; index-- {
		if size := readLine("/sys/devices/system/cpu/cpu0/cache/index" + strconv.Itoa(index) + "/size"); size != "" {
			return size
		}
	}
	return ""
}

// mitigations returns what the kernel says about the vulnerabilities that the
// CPU has.
func mitigations() map[string]string {
	files, _ := filepath.Glob("/sys/devices/system/cpu/vulnerabilities/*") // fails on a bad pattern only
	list := make(map[string]string)
	for _, f := range files {
		if s := readLine(f); s != "" && s != "Not affected" {
			list[filepath.Base(f)] = s
		}
	}
	return list
}

// chosen returns the word in brackets.
func chosen(s string) string {
	_, rest, _ := strings.Cut(s, "[")
	word, _, _ := strings.Cut(rest, "]")
	return word
}

// readLine returns a small file without blanks at its ends, "" when it cannot
// be read.
func readLine(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}
