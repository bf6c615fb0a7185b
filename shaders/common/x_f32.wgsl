// Elements of what is read.
alias X = f32;
