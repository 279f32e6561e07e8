package admission

import (
	"math"
	"testing"
	"testing/fstest"
	"time"
)

// What a container allows is found in both versions of control groups, wherever in the tree the limit is.
func TestLimits(t *testing.T) {
	none := math.Inf(1)
	for name, tt := range map[string]struct {
		files       map[string]string
		cpu, memory float64
	}{
		"no control groups": {nil, none, none},
		"version 2, container": {map[string]string{
			"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "150000 100000\n", "sys/fs/cgroup/memory.max": "536870912\n",
		}, 1.5, 512 << 20},
		"version 2, the parent's is less": {map[string]string{
			"proc/self/cgroup": "0::/pod/box\n", "sys/fs/cgroup/pod/box/cpu.max": "max 100000\n", "sys/fs/cgroup/pod/cpu.max": "50000 100000\n",
			"sys/fs/cgroup/pod/box/memory.max": "2000\n", "sys/fs/cgroup/pod/memory.max": "max\n",
		}, 0.5, 2000},
		"version 1": {map[string]string{
			"proc/self/cgroup":                            "5:cpu,cpuacct:/box\n3:memory:/box\n",
			"sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us":  "200000\n",
			"sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes":  "1073741824\n",
		}, 2, 1 << 30},
		"version 1, no limit": {map[string]string{
			"proc/self/cgroup":                   "5:cpu:/\n3:memory:/\n",
			"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
		}, none, none},
		"nonsense": {map[string]string{
			"proc/self/cgroup": "::\n0::\nx\n", "sys/fs/cgroup/cpu.max": "1 0\n", "sys/fs/cgroup/memory.max": "\n",
		}, none, none},
	} {
		files := fstest.MapFS{}
		for path, text := range tt.files {
			files[path] = &fstest.MapFile{Data: []byte(text)}
		}
		m := Machine{Files: files}
		if cpu, memory := m.CPULimit(), m.MemoryLimit(); cpu != tt.cpu || memory != tt.memory {
			t.Errorf("%s: got %v CPUs and %v bytes, want %v and %v", name, cpu, memory, tt.cpu, tt.memory)
		}
	}
}

// What a machine has left, and what was lost on it, is read wherever the kernel says it.
func TestReadings(t *testing.T) {
	const meminfo = "MemTotal: 4000 kB\nMemAvailable:    3000 kB\n"
	for name, tt := range map[string]struct {
		files           map[string]string
		available       float64
		pressure, delay time.Duration // -1 = not kept
	}{
		"nothing": {nil, math.Inf(1), -1, -1},
		"machine": {map[string]string{
			"proc/meminfo": meminfo, "proc/self/cgroup": "0::/\n",
			"proc/pressure/cpu":          "some avg10=1.00 avg60=0.50 avg300=0.10 total=1500000\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=7\n",
			"proc/self/task/7/schedstat": "100 2000000 5\n", "proc/self/task/8/schedstat": "100 1000000 5\n", "proc/self/task/9/schedstat": "",
		}, 3000 << 10, 1500 * time.Millisecond, 3 * time.Millisecond},
		"container": {map[string]string{
			"proc/meminfo": meminfo, "proc/self/cgroup": "0::/\n", "proc/pressure/cpu": "some avg10=1.00 avg60=0.50 avg300=0.10 total=1500000\n",
			"sys/fs/cgroup/cpu.pressure": "some avg10=1.00 avg60=0.50 avg300=0.10 total=20\n",
			"sys/fs/cgroup/memory.max":   "1000000\n", "sys/fs/cgroup/memory.current": "900000\n", "sys/fs/cgroup/memory.stat": "anon 1\ninactive_file 50000\n",
		}, 150_000, 20 * time.Microsecond, -1},
		"container, over its limit": {map[string]string{
			"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "1000\n", "sys/fs/cgroup/memory.current": "1200\n",
		}, 0, -1, -1},
		"version 1": {map[string]string{
			"proc/meminfo": meminfo, "proc/self/cgroup": "3:memory:/box\n",
			"sys/fs/cgroup/memory/box/memory.limit_in_bytes": "2000000\n", "sys/fs/cgroup/memory/box/memory.usage_in_bytes": "1500000\n",
			"sys/fs/cgroup/memory/box/memory.stat": "cache 5\ntotal_inactive_file 100000\n",
		}, 600_000, -1, -1},
	} {
		files := fstest.MapFS{}
		for path, text := range tt.files {
			files[path] = &fstest.MapFile{Data: []byte(text)}
		}
		m := Machine{Files: files}
		if got := m.Available(); got != tt.available {
			t.Errorf("%s: got %v bytes available, want %v", name, got, tt.available)
		}
		for what, read := range map[string]struct {
			from func() (time.Duration, bool)
			want time.Duration
		}{"pressure": {m.Pressure, tt.pressure}, "delay": {m.Delay, tt.delay}} {
			if got, ok := read.from(); ok != (read.want >= 0) || ok && got != read.want {
				t.Errorf("%s: %s: got %s (kept: %t), want %s", name, what, got, ok, read.want)
			}
		}
	}
	here := ThisMachine()
	if here.Cores() <= 0 || math.IsInf(here.Available(), 1) {
		t.Errorf("this machine: got %v cores and %v bytes, want some", here.Cores(), here.Available())
	}
}
