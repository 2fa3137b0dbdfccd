package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	kms "k8s.io/kms/apis/v2"
)

const (
	startTimeout = 30 * time.Second
	// Between two attempts; short beside what is measured.
	pause = 500 * time.Microsecond
)

type spawnOutcome struct {
	Ms    float64 `json:"ms"`
	CPUMs float64 `json:"cpuMs"`
}

// spawn starts a plugin, and measures the time until it has answered Status as wanted. The plugin is stopped.
func spawn(wanted job) (*spawnOutcome, error) {
	if len(wanted.Command) == 0 {
		return nil, fmt.Errorf("no command is given")
	}
	plugin := exec.Command(wanted.Command[0], wanted.Command[1:]...)
	plugin.Stderr = os.Stderr
	// Nothing else: the machine's NODE_OPTIONS or certificates are not what is measured.
	plugin.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME")}
	plugin.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	// What a plugin that was killed left behind would be taken for this one's.
	_ = os.Remove(wanted.Socket)
	began := time.Now()
	if err := plugin.Start(); err != nil {
		return nil, err
	}
	ms, err := untilAnswered(wanted, began)
	cpuMs := cpuTime(plugin.Process.Pid)
	_ = plugin.Process.Signal(syscall.SIGTERM)
	_ = plugin.Wait()
	return &spawnOutcome{Ms: ms, CPUMs: cpuMs}, err
}

func untilAnswered(wanted job, began time.Time) (float64, error) {
	// Without gRPC, which waits a second after a refused connection.
	for {
		probe, err := net.Dial("unix", wanted.Socket)
		if err == nil {
			probe.Close()
			break
		}
		if time.Since(began) > startTimeout {
			return 0, fmt.Errorf("nobody listens on %s: %w", wanted.Socket, err)
		}
		time.Sleep(pause)
	}
	connection, client, err := connect(wanted.Socket)
	if err != nil {
		return 0, err
	}
	defer connection.Close()
	for {
		answer, err := status(client)
		took := milliseconds(time.Since(began))
		if err != nil {
			return 0, err
		}
		if answer.Healthz == "ok" || !wanted.Healthy {
			return took, nil
		}
		if time.Since(began) > startTimeout {
			return 0, fmt.Errorf("Status says %q", answer.Healthz)
		}
		time.Sleep(pause)
	}
}

func status(client kms.KeyManagementServiceClient) (*kms.StatusResponse, error) {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	return client.Status(ctx, &kms.StatusRequest{})
}

// cpuTime is what the threads of a process have computed so far, in milliseconds; 0 where the system does not say.
func cpuTime(pid int) float64 {
	var sum float64
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	for _, file := range files {
		var nanoseconds float64
		if content, err := os.ReadFile(file); err == nil {
			fmt.Sscan(string(content), &nanoseconds)
		}
		sum += nanoseconds
	}
	return sum / 1e6
}
