"""What a quantised training step costs on this machine, beside plain fp32 and naive simulation: `cpt bench`."""
