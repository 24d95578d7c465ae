"""What `vision-edge doctor` looks at. Every probe is isolated: none can end the program."""
