// Elements of what is read, in f16.
enable f16;
alias X = f16;
