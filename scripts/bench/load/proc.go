package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

func number(text string) float64 {
	value, _ := strconv.ParseFloat(text, 64)
	return value
}

// established counts connections of the processes to a port on this machine (proc(5), net/tcp; state 01).
func established(pids, address string) int {
	_, port, _ := strings.Cut(address, ":")
	inodes := map[string]bool{}
	text, _ := os.ReadFile("/proc/net/tcp")
	for _, line := range strings.Split(string(text), "\n") {
		fields := strings.Fields(line)
		if len(fields) > 9 && fields[3] == "01" && strings.HasSuffix(fields[2], fmt.Sprintf(":%04X", int(number(port)))) {
			inodes["socket:["+fields[9]+"]"] = true
		}
	}
	count := 0
	for _, pid := range strings.Split(pids, ",") {
		folder := "/proc/" + pid + "/fd/"
		names, _ := os.ReadDir(folder)
		for _, name := range names {
			if link, err := os.Readlink(folder + name.Name()); err == nil && inodes[link] {
				count++
			}
		}
	}
	return count
}
