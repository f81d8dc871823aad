"""Damaged and hostile input for every command, thousands of pieces of it: `make fuzz`; `python -m tests.fuzz --help`.

    __main__    the command line, the processes, the table
    harness     one command on one input: run in a process of its own, and what it may not do
    surfaces    what is attacked: good input, and the commands that read it
    worlds      a mutant: one surface's input with something changed
    page        the page of `report serve`, attacked at its socket
    formats     how files of each format are damaged; mats: those of MATLAB
    damage      how any file, text, number and name is damaged
"""
