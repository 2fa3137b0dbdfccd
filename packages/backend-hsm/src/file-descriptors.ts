/** Frames between server and child. */
export const CALLS_FD = 3;
/** Carries nothing; its end tells the child that the server is gone. */
export const LIFELINE_FD = 4;
