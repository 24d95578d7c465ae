"""What `vision-edge bench` measures with: a process a case, taking turns."""
