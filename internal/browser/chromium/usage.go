package chromium

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Usage is what a browser took of the machine, all its processes together.
type Usage struct {
	CPU    time.Duration // user and system time, of ended processes too
	Memory int64         // bytes, the peak: each process's own pages, and the shared ones of the process that has most of them
}

// meter measures the processes of a group. It is safe for concurrent use.
type meter struct {
	group int

	mu      sync.Mutex
	known   map[int]bool // by pid: whether it is one of the group's
	peak    Usage
	network int // the process that has all of the browser's connections, 0 until it is seen
}

// tick is the unit of times in /proc, the same on every Linux.
const tick = time.Second / 100

// sight is what the group is like at a moment.
type sight struct {
	memory    int64 // bytes
	processes int
	stopped   string // the kind of a process that somebody has stopped; "" = none
	severed   bool   // the network process is not the one that it was
}

// sample looks at the group and keeps the peaks. It costs a list of /proc and three small files of each process.
func (m *meter) sample() sight {
	m.mu.Lock()
	defer m.mu.Unlock()
	now, out := Usage{}, sight{}
	var shared int64
	connected := m.network == 0
	known := make(map[int]bool, len(m.known))
	for _, pid := range pids() {
		member, seen := m.known[pid]
		if seen && !member {
			known[pid] = false
			continue
		}
		s, ok := statOf(pid)
		if !ok {
			continue // ended meanwhile
		}
		known[pid] = s.group == m.group
		if !known[pid] {
			continue
		}
		offer(pid) // at every look: Chromium gives some of its processes a score of its own, a moment after their start
		out.processes++
		now.CPU += s.cpu
		own, common := residentOf(pid)
		now.Memory, shared = now.Memory+own, max(shared, common)
		if m.network == 0 && bytes.Contains(lineOf(pid), []byte(networkService)) {
			m.network = pid
		}
		connected = connected || pid == m.network && s.state != "Z"
		if s.state == "T" {
			out.stopped = kindOf(pid)
		}
	}
	now.Memory += shared
	m.known = known
	m.peak = Usage{CPU: max(m.peak.CPU, now.CPU), Memory: max(m.peak.Memory, now.Memory)}
	out.memory, out.severed = now.Memory, !connected
	return out
}

// offer makes a process one that the kernel takes before the probe where the machine runs out of memory.
func offer(pid int) {
	const score = 300 // -1000 to 1000; as Chromium gives its renderers
	file := filepath.Join("/proc", strconv.Itoa(pid), "oom_score_adj")
	text, err := os.ReadFile(file)
	if now, err2 := strconv.Atoi(strings.TrimSpace(string(text))); err == nil && err2 == nil && now < score {
		_ = os.WriteFile(file, []byte(strconv.Itoa(score)), 0) // has ended meanwhile, or may not be offered
	}
}

// networkService is in the command line of the network process.
const networkService = "--utility-sub-type=network.mojom.NetworkService"

// lineOf is the command line of a process, "" where it has ended.
func lineOf(pid int) []byte {
	line, _ := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
	return line
}

// kindOf is what Chromium calls a process: renderer, zygote, utility, ...; it is "browser" for the one that leads.
func kindOf(pid int) string {
	_, kind, ok := bytes.Cut(bytes.ReplaceAll(lineOf(pid), []byte{0}, []byte(" ")), []byte("--type="))
	if !ok {
		return "browser"
	}
	kind, _, _ = bytes.Cut(kind, []byte(" "))
	return string(kind)
}

// most returns the peaks so far.
func (m *meter) most() Usage {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.peak
}

// pids lists the processes that can be seen.
func pids() (out []int) {
	proc, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer func() { _ = proc.Close() }()
	names, _ := proc.Readdirnames(-1) // what could be read is what there is
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil {
			out = append(out, pid)
		}
	}
	return out
}

// stat is what /proc/<pid>/stat says of a process.
type stat struct {
	name    string // at most 15 bytes of it
	state   string
	parent  int
	group   int
	cpu     time.Duration // its own and that of the children it has waited for
	started string        // ticks since the machine's start
}

// statOf reads what the kernel says of a process; ok is false where it has ended.
func statOf(pid int) (s stat, ok bool) {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return stat{}, false
	}
	head, rest, _ := strings.Cut(string(text), ") ") // pid (name) state parent group ...
	_, s.name, _ = strings.Cut(head, " (")
	fields := strings.Fields(rest)
	if len(fields) < 20 {
		return stat{}, false
	}
	s.state, s.started = fields[0], fields[19]
	s.parent, err = strconv.Atoi(fields[1])
	if err == nil {
		s.group, err = strconv.Atoi(fields[2])
	}
	for _, field := range fields[11:15] { // utime, stime, cutime, cstime
		ticks, _ := strconv.ParseInt(field, 10, 64) // of the kernel's own making
		s.cpu += time.Duration(ticks) * tick
	}
	return s, err == nil
}

// residentOf returns the bytes of memory that a process has for itself, and those that it may share.
func residentOf(pid int) (own, shared int64) {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "statm"))
	if err != nil {
		return 0, 0
	}
	var size, resident, common int64 // pages
	if _, err := fmt.Sscan(string(text), &size, &resident, &common); err != nil {
		return 0, 0
	}
	page := int64(os.Getpagesize())
	return (resident - common) * page, common * page
}

// timeOf is the processor time of a process that has been reaped, and of those it had reaped itself.
func timeOf(r *syscall.Rusage) time.Duration { return time.Duration(r.Utime.Nano() + r.Stime.Nano()) }
