package admission

import (
	"io/fs"
	"math"
	"os"
	"path"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// Machine tells what the machine or container leaves to this process. Reading it is all the I/O of this package.
type Machine struct {
	Files fs.FS // the root of its file system
}

// ThisMachine is the one that this process runs on.
func ThisMachine() Machine { return Machine{Files: os.DirFS("/")} }

// read returns a small file without its last line's end; "" where there is none to read.
func (m Machine) read(name string) string {
	text, err := fs.ReadFile(m.Files, name)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

// number reads a file that holds one number; ok=false where there is none.
func (m Machine) number(name string) (n float64, ok bool) {
	n, err := strconv.ParseFloat(m.read(name), 64)
	return n, err == nil
}

// field reads the number behind a name in a file of such lines; ok=false where there is none.
func (m Machine) field(file, name string) (n float64, ok bool) {
	for line := range strings.Lines(m.read(file)) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == name {
			n, err := strconv.ParseFloat(fields[1], 64)
			return n, err == nil
		}
	}
	return 0, false
}

// groups lists the folders of this process's control groups for a controller, from its own one to the root, in both versions' trees.
func (m Machine) groups(controller string) []string {
	var out []string
	climb := func(root, group string) {
		for group = path.Clean("/" + group); ; group = path.Dir(group) {
			out = append(out, path.Join(root, group))
			if group == "/" {
				return
			}
		}
	}
	for line := range strings.Lines(m.read("proc/self/cgroup")) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) != 3 {
			continue
		}
		if fields[1] == "" {
			climb("sys/fs/cgroup", fields[2])
		}
		for name := range strings.SplitSeq(fields[1], ",") {
			if name == controller {
				climb("sys/fs/cgroup/"+fields[1], fields[2])
				climb("sys/fs/cgroup/"+controller, fields[2])
			}
		}
	}
	return out
}

// CPULimit is how many CPUs the control groups leave; +Inf where they do not limit it.
func (m Machine) CPULimit() float64 {
	limit := math.Inf(1)
	for _, dir := range m.groups("cpu") {
		quota, period, _ := strings.Cut(m.read(dir+"/cpu.max"), " ")
		if quota == "" {
			quota, period = m.read(dir+"/cpu.cfs_quota_us"), m.read(dir+"/cpu.cfs_period_us")
		}
		q, errQ := strconv.ParseFloat(quota, 64) // "max" and -1: none
		p, errP := strconv.ParseFloat(period, 64)
		if errQ == nil && errP == nil && q > 0 && p > 0 {
			limit = min(limit, q/p)
		}
	}
	return limit
}

// Cores is how many CPUs this process may use.
func (m Machine) Cores() float64 { return min(m.CPULimit(), float64(runtime.NumCPU())) }

// unlimited is what version 1 of control groups exceeds where it means no limit: it writes a number beyond any memory.
const unlimited = 1 << 60

// MemoryLimit is how many bytes the control groups leave; +Inf where they do not limit it.
func (m Machine) MemoryLimit() float64 {
	limit := math.Inf(1)
	for _, dir := range m.groups("memory") {
		for _, name := range []string{"memory.max", "memory.limit_in_bytes"} {
			if n, ok := m.number(dir + "/" + name); ok && n < unlimited {
				limit = min(limit, n)
			}
		}
	}
	return limit
}

// Available is how many bytes can still be used: what the kernel reckons, or what a control group has left if that is less. What is
// only cached counts as left. +Inf where nobody says.
func (m Machine) Available() float64 {
	left := math.Inf(1)
	if kib, ok := m.field("proc/meminfo", "MemAvailable:"); ok {
		left = kib * 1024
	}
	for _, dir := range m.groups("memory") {
		for _, names := range [][3]string{
			{"memory.max", "memory.current", "inactive_file"},
			{"memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"},
		} {
			limit, ok := m.number(dir + "/" + names[0])
			used, okUsed := m.number(dir + "/" + names[1])
			if ok && okUsed && limit < unlimited {
				cached, _ := m.field(dir+"/memory.stat", names[2])
				left = min(left, max(limit-used+cached, 0))
			}
		}
	}
	return left
}

// Pressure is for how long since some beginning there was work of this control group, or of this machine where there is none, that
// waited for a processor (PSI, "some"). ok=false where the kernel does not keep it.
func (m Machine) Pressure() (total time.Duration, ok bool) {
	files := []string{"proc/pressure/cpu"}
	if groups := m.groups("cpu"); len(groups) > 0 {
		files = []string{groups[0] + "/cpu.pressure", files[0]}
	}
	for _, file := range files {
		for line := range strings.Lines(m.read(file)) {
			fields := strings.Fields(line)
			if len(fields) == 0 || fields[0] != "some" {
				continue
			}
			text, found := strings.CutPrefix(fields[len(fields)-1], "total=")
			if micros, err := strconv.ParseInt(text, 10, 64); found && err == nil {
				return time.Duration(micros) * time.Microsecond, true
			}
		}
	}
	return 0, false
}

// Delay is for how long the threads of this process together, since they began, were ready and waited for a processor. ok=false
// where the kernel does not keep it.
func (m Machine) Delay() (total time.Duration, ok bool) {
	threads, err := fs.ReadDir(m.Files, "proc/self/task")
	if err != nil {
		return 0, false
	}
	for _, thread := range threads {
		fields := strings.Fields(m.read("proc/self/task/" + thread.Name() + "/schedstat")) // CPU time, delay, time slices
		if len(fields) != 3 {
			continue // it has ended meanwhile
		}
		if n, err := strconv.ParseInt(fields[1], 10, 64); err == nil {
			total, ok = total+time.Duration(n), true
		}
	}
	return total, ok
}

// cpu is what processors have done since some beginning, all together.
type cpu struct {
	used  time.Duration // by anybody, that which a hypervisor gave to others included
	all   time.Duration // used and idle
	probe time.Duration // used by this process, without its children
	ok    bool
}

// tick is the unit of times in /proc, the same on every Linux.
const tick = time.Second / 100

// cpu reads what the processors of the whole machine have done.
func (m Machine) cpu() (c cpu) {
	first, _, _ := strings.Cut(m.read("proc/stat"), "\n")
	fields := strings.Fields(first) // cpu user nice system idle iowait irq softirq steal; the rest is part of user
	_, own, _ := strings.Cut(m.read("proc/self/stat"), ") ")
	mine := strings.Fields(own) // state parent ...; the 12th and 13th are user and system time
	if len(fields) < 9 || fields[0] != "cpu" || len(mine) < 13 {
		return cpu{}
	}
	const idle, ioWait = 4, 5
	for i, text := range fields[:9] {
		n, _ := strconv.ParseInt(text, 10, 64) // the name counts for nothing
		c.all += time.Duration(n) * tick
		if i != idle && i != ioWait {
			c.used += time.Duration(n) * tick
		}
	}
	for _, text := range mine[11:13] {
		n, _ := strconv.ParseInt(text, 10, 64)
		c.probe += time.Duration(n) * tick
	}
	c.ok = true
	return c
}

// since is what happened between two readings.
func (c cpu) since(before cpu) cpu {
	return cpu{used: c.used - before.used, all: c.all - before.all, probe: c.probe - before.probe, ok: c.ok && before.ok && c.all > before.all}
}
