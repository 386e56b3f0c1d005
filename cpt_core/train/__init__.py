"""Training of one spec under torch.distributed. `python -m cpt_core.train RUN.json` is one rank; no torch here.

    set up: data, model, quantisation, DDP, optimiser, the checkpoint to resume from
    started
    for each step:  bits, learning rate, batch, forward, loss, backward, agreement of the ranks, update
        step
        evaluation  every evaluation.every_steps, and at the end
        checkpoint  every checkpoint.every_steps, at the end, and when asked to stop
    finished

Everything that varies is a function of the spec, the step and the rank, so a resumed run equals an unbroken one bit for
bit on the same kind of machine with the same number of ranks and threads.
"""
